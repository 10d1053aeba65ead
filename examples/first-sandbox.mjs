// The main job, by the public E2B client, unmodified: create a sandbox, run Python in it, write and
// read a file, kill it. Needs E2B_API_KEY, E2B_API_URL and E2B_SANDBOX_URL (`atoll env` prints them).
// Usage: node first-sandbox.mjs [tier]
import { Sandbox } from 'e2b'

const tier = process.argv[2]

async function step(name, work) {
  const started = performance.now()
  const result = await work()
  const ms = (performance.now() - started).toFixed(0)
  console.log(`  ${name.padEnd(28)} ${ms.padStart(6)} ms   ${result.text}`)
  return result.value
}

const sandbox = await step('create a sandbox', async () => {
  const value = await Sandbox.create('base', tier ? { metadata: { 'atoll.tier': tier } } : {})
  return { value, text: value.sandboxId }
})
try {
  await step('run Python', async () => {
    const program = 'import platform, sys; print(sum(range(101)), platform.python_version(), sys.platform)'
    const run = await sandbox.commands.run(`python3 -c '${program}'`)
    if (!run.stdout.startsWith('5050 ')) throw new Error(`unexpected output: ${run.stdout}`)
    return { text: `printed ${JSON.stringify(run.stdout)}` }
  })
  await step('write a file', async () => {
    const info = await sandbox.files.write('notes/hello.txt', 'Hello from outside.\n')
    return { text: info.path }
  })
  await step('append to it inside', async () => {
    const run = await sandbox.commands.run('echo "Hello from $(whoami) inside." >> notes/hello.txt; wc -l < notes/hello.txt')
    return { text: `${run.stdout.trim()} lines` }
  })
  await step('read it back', async () => {
    const text = await sandbox.files.read('notes/hello.txt')
    if (text !== 'Hello from outside.\nHello from user inside.\n') throw new Error(`unexpected content: ${text}`)
    return { text: JSON.stringify(text) }
  })
} finally {
  await step('kill the sandbox', async () => ({ text: (await sandbox.kill()) ? 'gone' : 'was gone already' }))
}
