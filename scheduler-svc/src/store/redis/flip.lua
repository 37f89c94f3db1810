#!lua
-- From now on the snapshot counts.
-- KEYS: owner. ARGV: nonce, epoch, generation, sequence, number of records.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq', 'next')
if fields[1] ~= ARGV[1] or fields[2] ~= ARGV[2] or fields[4] ~= ARGV[3] then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
redis.call('HSET', KEYS[1], 'generation', ARGV[3], 'records', ARGV[5], 'seq', ARGV[4])
return {'flipped'}
