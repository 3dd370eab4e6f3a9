-- What every virtual machine begins with: the sandbox, `redis.call`, and how scripts are run.
--
-- It is given the functions that are written in Rust, and returns those that Rust calls. Scripts never see this chunk's
-- own environment: each has one of its own, through which the libraries can be read and never changed, so that nothing
-- that one script does can be seen by another.

local native = ...
local error, rawget, rawset, rawequal, type, select = error, rawget, rawset, rawequal, type, select
local setmetatable, getmetatable, next, tostring = setmetatable, getmetatable, next, tostring
local raw_pcall, raw_xpcall, raw_load, raw_loadstring, setfenv = pcall, xpcall, load, loadstring, setfenv
local resume, byte, concat = coroutine.resume, string.byte, table.concat
local plain, position, text_of, ask, collect = native.plain, native.position, native.text_of, native.ask, native.collect
local unplaced = native.unplaced

local READ_ONLY = 'Attempt to modify a readonly table'

-- What a read-only table stands for. Weak: it goes with the script. Both ways, since this Lua keeps what a weak key leads to,
-- and what a script reads from leads back to its environment; whoever has a view has what it stands for in its metatable.
local guarded = setmetatable({}, { __mode = 'kv' })

-- Environments of scripts and what they read from. Weak, as above.
local of_script = setmetatable({}, { __mode = 'kv' })

-- Most scripts without keys or without other arguments never ask for them: such a list is made when it is asked for.
local function made(t)
  local real = of_script[t]
  if real then
    real.KEYS, real.ARGV = rawget(real, 'KEYS') or {}, rawget(real, 'ARGV') or {}
  end
end

local function refuse()
  error(READ_ONLY, 2)
end

local function guard(real, metatable)
  local view = {}
  guarded[view] = real
  metatable = metatable or {}
  metatable.__index, metatable.__newindex = metatable.__index or real, refuse
  if metatable.__metatable == nil then
    metatable.__metatable = setmetatable({}, { __newindex = refuse, __metatable = false })
  end
  return setmetatable(view, metatable)
end

-- Lua's matcher calls itself, on the stack of C, for every repetition and capture of a pattern: too many end the process.
-- Errors of Lua's own functions say where they were called, which is here: `unplaced` and `position` see to that.
local find, match, gmatch, gsub = string.find, string.match, string.gmatch, string.gsub
local too_complex, SHORT = native.too_complex, native.pattern_items_max

local function check(pattern)
  if type(pattern) == 'string' and #pattern > SHORT and too_complex(pattern) then
    error('pattern too complex', 3)
  end
end

function string.find(s, pattern, init, is_plain)
  if type(pattern) ~= 'string' or #pattern > SHORT then
    if pattern == nil then
      if s == nil then
        return find()
      end
      return find(s)
    elseif not is_plain then
      check(pattern)
    end
  end
  return find(s, pattern, init, is_plain)
end

function string.match(s, pattern, init)
  if type(pattern) ~= 'string' or #pattern > SHORT then
    if pattern == nil then
      if s == nil then
        return match()
      end
      return match(s)
    end
    check(pattern)
  end
  return match(s, pattern, init)
end

function string.gmatch(...)
  check((select(2, ...)))
  return gmatch(...)
end

-- Its name in Lua 5.0.
string.gfind = string.gmatch

function string.gsub(...)
  check((select(2, ...)))
  return gsub(...)
end

getmetatable('').__metatable = setmetatable({}, { __newindex = refuse, __metatable = false })

local function caught(ok, ...)
  if ok then
    return ok, ...
  end
  local err = ...
  if type(err) == 'userdata' then
    err = plain(err)
  end
  if type(err) == 'table' and type(rawget(err, 'err')) == 'string' then
    return false, err.err
  end
  return false, unplaced(err), select(2, ...)
end

local function resumed(ok, ...)
  if ok then
    return ok, ...
  end
  return ok, unplaced(plain((...)))
end

local base = {
  assert = assert, collectgarbage = collectgarbage, error = error, gcinfo = gcinfo, getmetatable = getmetatable,
  ipairs = ipairs, next = next, rawequal = rawequal, select = select, setmetatable = setmetatable,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, _VERSION = _VERSION,
  pcall = function(...)
    return caught(raw_pcall(...))
  end,
  xpcall = function(f, handler)
    return raw_xpcall(f, function(err)
      return handler(unplaced(plain(err)))
    end)
  end,
  rawget = function(t, key)
    made(t)
    return rawget(guarded[t] or t, key)
  end,
  rawset = function(t, key, value)
    if guarded[t] then
      error(READ_ONLY, 0)
    end
    return rawset(t, key, value)
  end,
  -- A copy: what is iterated over could be changed otherwise.
  pairs = function(t)
    local real = guarded[t]
    if real == nil then
      local iterate, state, first = pairs(t)
      return iterate, state, first
    end
    made(t)
    local copy = {}
    for key, value in next, real do
      copy[key] = value
    end
    return next, copy, nil
  end,
}

local libraries = {
  string = {}, table = table, math = math, coroutine = {},
  cjson = native.cjson, cmsgpack = native.cmsgpack, struct = native.struct, bit = native.bit,
}
for name, f in next, string do
  libraries.string[name] = f
end
for name, f in next, coroutine do
  libraries.coroutine[name] = f
end
libraries.coroutine.resume = function(...)
  return resumed(resume(...))
end
math.random, math.randomseed = native.random, native.randomseed

local api = {
  error_reply = function(...)
    local text = ...
    if select('#', ...) ~= 1 or type(text) ~= 'string' then
      return { err = 'ERR wrong number or type of arguments' }
    end
    if byte(text, 1) == 45 then
      text = string.sub(text, 2)
      if text == '' then
        text = 'ERR '
      end
      return { err = text }
    end
    if not string.find(text, ' ', 1, true) then
      text = 'ERR ' .. text
    end
    return { err = text }
  end,
  status_reply = function(...)
    local text = ...
    if select('#', ...) ~= 1 or type(text) ~= 'string' then
      return { err = 'ERR wrong number or type of arguments' }
    end
    return { ok = text }
  end,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}
for name, value in next, native.redis do
  api[name] = value
end

-- What only scripts have, and what only libraries have while they are loaded.
local script_api, library_api = {
  replicate_commands = native.replicate_commands,
  breakpoint = function()
    return false
  end,
  debug = function() end,
}, {}
for name, value in next, api do
  script_api[name] = value
  library_api[name] = value
end
-- Both behind a second table, so that calling what is not there yet is an error of its own.
local loading_api = {}
for _, name in next, { 'log', 'sha1hex', 'error_reply', 'status_reply', 'REDIS_VERSION', 'REDIS_VERSION_NUM',
                       'LOG_DEBUG', 'LOG_VERBOSE', 'LOG_NOTICE', 'LOG_WARNING' } do
  loading_api[name] = api[name]
end
loading_api.register_function = native.register_function

local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. text_of(name) .. "'", 2)
end

local function missing_in_script(real, name)
  if name == 'KEYS' or name == 'ARGV' then
    local list = {}
    real[name] = list
    return list
  end
  error("Script attempted to access nonexistent global variable '" .. text_of(name) .. "'", 2)
end

-- A new environment: what scripts see of it, and what it reads from.
local function environment(api_of, missing_in)
  local real = {}
  for name, value in next, base do
    real[name] = value
  end
  for name, library in next, libraries do
    real[name] = guard(library)
  end
  real.redis = guard(api_of)
  local env = {}
  guarded[env] = real
  local function in_env(f, problem)
    if f == nil then
      return nil, problem
    end
    return setfenv(f, env)
  end
  real.loadstring = function(text, name)
    if type(text) == 'string' and byte(text, 1) == 27 then
      return nil, 'bytecode is not loaded'
    end
    return in_env(raw_loadstring(text, name))
  end
  real.load = function(read, name)
    if type(read) ~= 'function' then
      -- For its own words.
      error("bad argument #1 to 'load' (function expected, got " .. type(read) .. ')', 2)
    end
    local parts = {}
    while true do
      local part = read()
      if part == nil or part == '' then
        break
      end
      if type(part) ~= 'string' then
        error('reader function must return a string', 2)
      end
      parts[#parts + 1] = part
    end
    local text = concat(parts)
    if byte(text, 1) == 27 then
      return nil, 'bytecode is not loaded'
    end
    return in_env(raw_loadstring(text, name or '=(load)'))
  end
  real._G = env
  setmetatable(real, { __index = missing_in })
  setmetatable(env, {
    __index = real,
    __newindex = refuse,
    __metatable = setmetatable({}, { __newindex = refuse, __metatable = false }),
  })
  return env, real
end

-- What a function of a library is called with: in one place, so that none is made for each call.
local asked_f, asked_keys, asked_argv

local function asked()
  return asked_f(asked_keys, asked_argv)
end

-- Whether a table is answered as a sequence, whose elements alone are asked for then.
local function is_sequence(value)
  return getmetatable(value) == nil and value.err == nil and value.ok == nil and value.double == nil
    and value.map == nil and value.set == nil and value.big_number == nil and value.verbatim_string == nil
end

return {
  -- The environment of a script.
  script = function(f)
    local env, real = environment(script_api, missing_in_script)
    of_script[env] = real
    setfenv(f, env)
    return real
  end,
  -- The environment of a library, and what `redis` is in it once it is loaded.
  library = function(f)
    local env, real = environment(library_api, missing)
    local running = real.redis
    setfenv(f, env)
    return real, guard(loading_api, { __index = setmetatable(loading_api, { __index = missing }) }), running
  end,
  is_sequence = is_sequence,
  -- Runs one thing after the other: a script, a function of a library, or the code of one.
  serve = function()
    asked_f, asked_keys, asked_argv = nil
    local is_well, value
    while true do
      -- A list of one word comes as that word, and an empty one as nothing: a table is made here at a lower price.
      local f, real, key_count, keys, argument_count, argv, is_crowded = ask(is_well, value)
      -- What the last one left goes before the next one needs the room.
      value = nil
      if is_crowded then
        collect()
      end
      if key_count == 1 then
        keys = { keys }
      end
      if argument_count == 1 then
        argv = { argv }
      end
      if real then
        real.KEYS, real.ARGV = keys, argv
        is_well, value = raw_xpcall(f, position)
      elseif key_count then
        asked_f, asked_keys, asked_argv = f, keys or {}, argv or {}
        is_well, value = raw_xpcall(asked, position)
        asked_f, asked_keys, asked_argv = nil
      else
        is_well, value = raw_xpcall(f, position)
        if is_well then
          value = nil
        end
      end
    end
  end,
}
