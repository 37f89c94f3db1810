#!lua
-- An owner that holds the whole state takes back a record that has lost it. Then it writes a snapshot into another
-- generation, which counts only once it is whole.
-- KEYS: owner. ARGV: nonce, epoch as the caller knows it, new epoch, its last sequence, term (ms), format level, where
-- peers reach it, the generation that it had.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq', 'generation', 'next')
local epoch, seq = tonumber(fields[2] or '0'), tonumber(fields[3] or '0')
local mine = fields[1] == ARGV[1] and epoch <= tonumber(ARGV[3])
if not mine and (epoch >= tonumber(ARGV[2]) or seq > tonumber(ARGV[4])) then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local generation = tonumber(fields[4] or '0')
local following = math.max(generation, tonumber(fields[5] or '0'), tonumber(ARGV[8])) + 1
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', ARGV[3], 'seq', string.format('%.0f', seq), 'generation',
    string.format('%.0f', generation), 'next', string.format('%.0f', following), 'lease',
    string.format('%.0f', now + ARGV[5]), 'format', ARGV[6], 'reader', ARGV[6], 'advertise', ARGV[7], 'resigned', '0')
if not fields[5] then
    redis.call('HSETNX', KEYS[1], 'records', '0')
end
return {'reclaimed', string.format('%.0f', generation), string.format('%.0f', following)}
