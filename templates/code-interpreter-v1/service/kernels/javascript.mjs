// The JavaScript kernel. Descriptor 3 carries JSON lines: {code, env} comes in; ready, started, display, error and done go
// out. What the code prints goes to descriptors 1 and 2.
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { inspect } from 'node:util'
import vm from 'node:vm'
import { transform } from './transform.mjs'

const connection = new Socket({ fd: 3, readable: true, writable: true })
const kExecution = Symbol('execution')
const valueBytesMax = 32 * 1024 * 1024
let count = 0
let interrupted = null // rejects the execution that waits

function send(event, fields = {}) {
  connection.write(JSON.stringify({ event, ...fields }) + '\n')
}

// A mime bundle of what is shown, or null where there is nothing to show.
function bundleOf(value) {
  if (value === undefined) return null
  const own = value?.[Symbol.for('Jupyter.display')]
  if (typeof own === 'function') return own.call(value)
  return { 'text/plain': typeof value === 'string' ? `'${value}'` : inspect(value, { depth: 4, maxArrayLength: 1000 }) }
}

function display(value, main) {
  const data = bundleOf(value)
  if (!data) return
  for (const [mime, item] of Object.entries(data)) {
    const size = typeof item === 'string' ? item.length : 0
    if (size <= valueBytesMax) continue
    delete data[mime]
    data['text/plain'] = `<${mime} of ${size} characters left out: the limit is ${valueBytesMax}>`
  }
  send('display', { main, data })
}

function sendError(error) {
  if (!(error instanceof Error) && typeof error?.stack !== 'string') {
    const text = inspect(error)
    return send('error', { name: 'Error', value: text, traceback: `Uncaught ${text}` })
  }
  const interruptedHere = error.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED'
  const name = interruptedHere ? 'KeyboardInterrupt' : String(error.name)
  // The kernel's own frames tell the user nothing.
  const stack = String(error.stack).split('\n').filter((line) => !/node:vm|javascript\.mjs|transform\.mjs/.test(line)).join('\n')
  send('error', { name, value: String(error.message), traceback: stack })
}

function setEnv(changes) {
  const before = {}
  for (const [name, value] of Object.entries(changes)) {
    before[name] = process.env[name]
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
  return before
}

// Names are the global object's own, writable and without accessors, before the code assigns to them.
function declare(names) {
  for (const name of names) {
    const known = Object.getOwnPropertyDescriptor(globalThis, name)
    if (known && 'value' in known) continue
    const value = known ? undefined : globalThis[name]
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true })
  }
}

async function evaluate(code) {
  const cell = `cell ${count}`
  const { source, names } = transform(code, cell)
  declare(names)
  const script = new vm.Script(source, {
    filename: cell, importModuleDynamically: (name) => import(resolve(name)),
  })
  const stopped = new Promise((_, reject) => { interrupted = reject })
  const result = script.runInThisContext({ breakOnSigint: true })
  return await Promise.race([result, stopped])
}

function resolve(name) {
  if (!/^(\.|\/)/.test(name)) {
    try {
      const found = globalThis.require.resolve(name)
      return found.startsWith('/') ? `file://${found}` : found
    } catch {
      return name
    }
  }
  return new URL(name, `file://${process.cwd()}/`).href
}

async function run({ code, env }) {
  send('started', { count: ++count })
  const before = setEnv(env ?? {})
  try {
    const outcome = await evaluate(code)
    display(outcome?.[kExecution], true)
  } catch (error) {
    sendError(error)
  } finally {
    interrupted = null
    setEnv(before)
  }
  send('done')
}

globalThis.require = createRequire(`${process.cwd()}/cell.js`)
globalThis.display = (value) => display(value, false)
// Code's value in a box, so that a promise as last value is not waited for twice by accident of its shape.
globalThis[Symbol.for('atoll.box')] = (value) => ({ [kExecution]: value })

process.on('SIGINT', () => {
  const error = new Error('interrupted')
  error.name = 'KeyboardInterrupt'
  interrupted?.(error)
})
// What fails in the background must not end the kernel.
process.on('uncaughtException', (error) => { process.stderr.write(`Uncaught ${inspect(error)}\n`) })
process.on('unhandledRejection', (error) => { process.stderr.write(`Unhandled rejection: ${inspect(error)}\n`) })

send('ready')
for await (const line of createInterface({ input: connection })) await run(JSON.parse(line))
process.exit(0)
