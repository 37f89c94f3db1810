#!lua
-- A write after all commits so far, so that whoever waits for it has waited for them. Only on a Redis that has them.
-- KEYS: owner. ARGV: nonce, epoch, sequence.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq')
if fields[1] ~= ARGV[1] or fields[2] ~= ARGV[2] then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
if tonumber(fields[3]) < tonumber(ARGV[3]) then
    return {'gap', fields[1], fields[2], fields[3]}
end
redis.call('HSET', KEYS[1], 'secured', fields[3])
return {'touched', fields[3]}
