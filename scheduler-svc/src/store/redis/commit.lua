#!lua
-- Applies one batch of the owner: checks everything first, writes idempotent puts, writes the sequence last.
-- KEYS: owner, then one key per group of writes. ARGV: nonce, epoch, sequence, then per group: what to do and the number
-- of arguments that follow. `put`: fields and values; `del`: fields; `ring`: fields, slots and values; `drop`: fields and
-- slots.
local fields = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq', 'records')
if fields[1] ~= ARGV[1] or fields[2] ~= ARGV[2] then
    return {'other', fields[1] or '', fields[2] or '0', fields[3] or '0'}
end
local stored, seq = tonumber(fields[3]), tonumber(ARGV[3])
if stored == seq then
    return {'committed'}
end
if stored ~= seq - 1 then
    return {'gap', fields[1], fields[2], fields[3]}
end
for i = 2, #KEYS do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'hash' and kind ~= 'none' then
        return {'foreign', KEYS[i], kind}
    end
end

-- A ring is one value: entries of a slot (4 bytes), a length (4 bytes) and as many bytes.
local function without(ring, slot)
    local kept, at = {}, 1
    while ring and at <= #ring do
        local entry, length = struct.unpack('>I4I4', ring, at)
        local after = at + 8 + length
        if entry ~= slot then
            kept[#kept + 1] = string.sub(ring, at, after - 1)
        end
        at = after
    end
    return kept
end

local records, at = tonumber(fields[4]), 4
for i = 2, #KEYS do
    local key, what, count = KEYS[i], ARGV[at], tonumber(ARGV[at + 1])
    local first, last = at + 2, at + 1 + count
    if what == 'put' then
        records = records + redis.call('HSET', key, unpack(ARGV, first, last))
    elseif what == 'del' then
        records = records - redis.call('HDEL', key, unpack(ARGV, first, last))
    elseif what == 'ring' then
        for n = first, last, 3 do
            local slot, value = tonumber(ARGV[n + 1]), ARGV[n + 2]
            local ring = without(redis.call('HGET', key, ARGV[n]), slot)
            ring[#ring + 1] = struct.pack('>I4I4', slot, #value) .. value
            redis.call('HSET', key, ARGV[n], table.concat(ring))
        end
    else
        for n = first, last, 2 do
            local ring = without(redis.call('HGET', key, ARGV[n]), tonumber(ARGV[n + 1]))
            if #ring == 0 then
                redis.call('HDEL', key, ARGV[n])
            else
                redis.call('HSET', key, ARGV[n], table.concat(ring))
            end
        end
    end
    at = last + 1
end
redis.call('HSET', KEYS[1], 'records', string.format('%.0f', records), 'seq', ARGV[3])
return {'committed'}
