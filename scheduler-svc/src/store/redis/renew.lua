#!lua
-- Extends the lease of its owner, or ends it when the term is 0.
-- KEYS: owner. ARGV: nonce, epoch, term (ms), run id and replication id of this Redis.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq')
if fields[1] ~= ARGV[1] or fields[2] ~= ARGV[2] then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
if ARGV[3] == '0' then
    redis.call('HSET', KEYS[1], 'lease', '0', 'resigned', '1')
    return {'renewed'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'lease', string.format('%.0f', now + ARGV[3]), 'redis', ARGV[4])
return {'renewed'}
