#!lua
-- Becomes the owner, if nobody else's lease lives. Repeating it with the same nonce changes nothing.
-- KEYS: owner. ARGV: nonce, term (ms), format level, highest epoch that the caller has seen, whether a lower one is
-- accepted (0, 1), where peers reach it.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq', 'lease', 'generation', 'records', 'reader',
    'resigned', 'advertise')
local owner, epoch, seq = fields[1], tonumber(fields[2] or '0'), fields[3] or '0'
local generation, records = fields[5] or '0', fields[6] or '0'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if owner == ARGV[1] then
    return {'opened', tostring(epoch), seq, generation, records, '0'}
end
if tonumber(fields[7] or '0') > tonumber(ARGV[3]) then
    return {'unreadable', fields[7]}
end
local left = tonumber(fields[4] or '0') - now
if left > 0 then
    return {'held', tostring(epoch), tostring(math.ceil(left)), fields[9] or ''}
end
if epoch < tonumber(ARGV[4]) and ARGV[5] ~= '1' then
    return {'lower', tostring(epoch)}
end
epoch = math.max(epoch, tonumber(ARGV[4])) + 1
local resigned = fields[8] or '0'
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', string.format('%.0f', epoch), 'seq', seq, 'generation', generation,
    'records', records, 'format', ARGV[3], 'reader', ARGV[3], 'lease', string.format('%.0f', now + ARGV[2]),
    'advertise', ARGV[6], 'resigned', '0')
return {'opened', string.format('%.0f', epoch), seq, generation, records, resigned}
