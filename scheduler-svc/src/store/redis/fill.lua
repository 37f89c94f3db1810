#!lua
-- Writes a chunk of a snapshot into the generation that does not count yet.
-- KEYS: owner, the bucket. ARGV: nonce, epoch, then fields and values.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq')
if fields[1] ~= ARGV[1] or fields[2] ~= ARGV[2] then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
local added = redis.call('HSET', KEYS[2], unpack(ARGV, 3))
return {'filled', tostring(added)}
