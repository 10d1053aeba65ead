// One scenario for every version of the JavaScript client: node scenario.mjs FOLDER_WITH_E2B TIER
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { equal, exitCode, step } from './steps.mjs'

const [folder, tier] = process.argv.slice(2)
const e2b = createRequire(join(folder, 'package.json'))('e2b')
const { Sandbox } = e2b

async function rejects(work, name) {
  try {
    await work()
  } catch (error) {
    if (error.name !== name) throw new Error(`threw ${error.name} (${error.message}), wanted ${name}`)
    return error
  }
  throw new Error(`did not throw ${name}`)
}

const sandbox = await Sandbox.create('base', {
  metadata: { 'atoll.tier': tier, who: 'js&co' }, envs: { FROM_CREATE: 'yes' }, timeoutMs: 120_000,
})
console.log('ok create')

await step('run', async () => {
  const r = await sandbox.commands.run('echo $FROM_CREATE; echo oops >&2')
  equal([r.stdout, r.stderr, r.exitCode], ['yes\n', 'oops\n', 0])
})
await step('exit code', async () => {
  equal((await rejects(() => sandbox.commands.run('exit 9'), 'CommandExitError')).exitCode, 9)
})
await step('callbacks stream', async () => {
  const seen = []
  await sandbox.commands.run('for i in 1 2 3; do echo $i; sleep 0.1; done', { onStdout: (x) => seen.push(x) })
  equal(seen.join(''), '1\n2\n3\n')
})
await step('stdin', async () => {
  const handle = await sandbox.commands.run('head -n 1', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'typed\n')
  equal((await handle.wait()).stdout, 'typed\n')
})
await step('timeout', async () => {
  await rejects(() => sandbox.commands.run('sleep 60', { timeoutMs: 1000 }), 'TimeoutError')
})
await step('kill a command', async () => {
  const handle = await sandbox.commands.run('sleep 60', { background: true })
  equal((await sandbox.commands.list()).some((p) => p.pid === handle.pid), true)
  equal([await handle.kill(), await sandbox.commands.kill(999999)], [true, false])
})
await step('files', async () => {
  await sandbox.files.write('a/b.txt', 'text')
  equal(await sandbox.files.read('a/b.txt'), 'text')
  equal((await sandbox.files.list('a')).map((e) => [e.name, e.type, e.path]), [['b.txt', 'file', '/home/user/a/b.txt']])
  await sandbox.files.rename('a/b.txt', 'a/c.txt')
  equal([await sandbox.files.exists('a/c.txt'), await sandbox.files.exists('a/b.txt')], [true, false])
  equal((await sandbox.files.getInfo('a/c.txt')).size, 4)
  equal([await sandbox.files.makeDir('a/d'), await sandbox.files.makeDir('a/d')], [true, false])
  await sandbox.files.remove('a')
  await rejects(() => sandbox.files.read('missing'), e2b.FileNotFoundError ? 'FileNotFoundError' : 'NotFoundError')
})
await step('many files and bytes', async () => {
  const bytes = new Uint8Array(300_000).map((_, i) => i % 251)
  await sandbox.files.write([{ path: 'm/1', data: 'one' }, { path: 'm/2', data: bytes.buffer }])
  const back = await sandbox.files.read('m/2', { format: 'bytes' })
  equal(Buffer.compare(Buffer.from(back), Buffer.from(bytes)), 0)
})
await step('watch', async () => {
  await sandbox.files.makeDir('w')
  let hit
  const seen = new Promise((resolve) => { hit = resolve })
  const watcher = await sandbox.files.watchDir('w', (event) => { if (event.name === 'x') hit(true) }, { recursive: true })
  await sandbox.files.write('w/x', '1')
  equal(await Promise.race([seen, new Promise((r) => setTimeout(() => r('no event in 10 s'), 10_000))]), true)
  await watcher.stop()
})
await step('terminal', async () => {
  let text = ''
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: (d) => { text += Buffer.from(d).toString() } })
  await sandbox.pty.resize(terminal.pid, { cols: 101, rows: 31 })
  await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size; exit\n'))
  await terminal.wait()
  if (!text.includes('31 101')) throw new Error(`the terminal printed ${JSON.stringify(text)}`)
})
await step('list by metadata', async () => {
  const pages = Sandbox.list({ query: { metadata: { who: 'js&co' } } })
  const found = []
  while (pages.hasNext) found.push(...(await pages.nextItems()))
  equal(found.some((s) => s.sandboxId === sandbox.sandboxId), true)
})
await step('info and timeout', async () => {
  const before = await sandbox.getInfo()
  await sandbox.setTimeout(200_000)
  equal((await sandbox.getInfo()).endAt > before.endAt, true)
})
await step('connect', async () => {
  const again = await Sandbox.connect(sandbox.sandboxId)
  equal((await again.commands.run('echo same')).stdout, 'same\n')
})
await step('signed url', async () => {
  await sandbox.files.write('signed', 'sealed')
  equal(await (await fetch(await sandbox.downloadUrl('signed'))).text(), 'sealed')
})
await step('forty commands at once', async () => {
  const all = await Promise.all(Array.from({ length: 40 }, (_, i) => sandbox.commands.run(`echo ${i}`)))
  equal(all.map((r) => r.stdout), Array.from({ length: 40 }, (_, i) => `${i}\n`))
})
await step('kill', async () => {
  equal(await sandbox.isRunning(), true)
  const killed = (await sandbox.kill()) ?? true // clients before 2.30 return nothing
  equal([killed, await Sandbox.kill(sandbox.sandboxId), await sandbox.isRunning()], [true, false, false])
  await rejects(() => sandbox.commands.run('true'), 'SandboxNotFoundError')
})
process.exit(exitCode())
