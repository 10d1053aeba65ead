// The JavaScript code interpreter client's scenario: node interpreter.mjs FOLDER_WITH_CLIENT TIER
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { equal, exitCode, step } from './steps.mjs'

const [folder, tier] = process.argv.slice(2)
const { Sandbox, NotFoundError, TimeoutError } = createRequire(join(folder, 'package.json'))('@e2b/code-interpreter')

async function rejects(work, kind) {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof kind)) throw new Error(`threw ${error.name} (${error.message}), wanted ${kind.name}`)
    return error
  }
  throw new Error(`did not throw ${kind.name}`)
}

const sandbox = await Sandbox.create({ metadata: { 'atoll.tier': tier }, timeoutMs: 300_000, envs: { FROM_CREATE: 'yes' } })
console.log('ok create')

await step('value and state', async () => {
  await sandbox.runCode('x = 20')
  const r = await sandbox.runCode('x += 1; x')
  equal([r.text, r.executionCount, r.error], ['21', 2, undefined])
})
await step('output', async () => {
  const seen = []
  const r = await sandbox.runCode("import sys\nprint('ü€😀' * 50_000)\nprint('err', file=sys.stderr)", {
    onStdout: (m) => { seen.push(m.line) }, onStderr: (m) => { seen.push(m.error) },
  })
  equal(r.logs.stdout.join('') === 'ü€😀'.repeat(50_000) + '\n', true)
  equal([r.logs.stderr, seen.includes(true)], [['err\n'], true])
})
await step('error', async () => {
  const seen = []
  const r = await sandbox.runCode('1 / 0', { onError: (e) => { seen.push(e.name) } })
  equal([r.error.name, r.error.value, seen], ['ZeroDivisionError', 'division by zero', ['ZeroDivisionError']])
  equal(r.error.traceback.includes('line 1'), true)
})
await step('language that is not there', async () => {
  const error = await rejects(() => sandbox.runCode('1', { language: 'java' }), NotFoundError)
  equal(error.message.includes('python, javascript, bash'), true)
})
await step('formats', async () => {
  const r = await sandbox.runCode("from IPython.display import *\ndisplay(HTML('<b>'))\ndisplay({'x/own': 1, 'text/latex': 'l'}, raw=True)\nMarkdown('m')")
  equal(r.results.map((x) => [x.html, x.latex, x.markdown, x.isMainResult, x.extra]), [
    ['<b>', undefined, undefined, false, {}], [undefined, 'l', undefined, false, { 'x/own': 1 }], [undefined, undefined, 'm', true, {}]])
})
await step('chart and table', async () => {
  const r = await sandbox.runCode("import matplotlib.pyplot as plt, pandas as pd\nplt.plot([1, 2], [3, 4])\nplt.show()\npd.DataFrame({'a': [1, float('nan')]})")
  const [plot, table] = r.results
  equal([plot.chart.type, plot.chart.elements[0].points, plot.png.slice(0, 5)], ['line', [[1, 3], [2, 4]], 'iVBOR'])
  equal([table.data, table.isMainResult], [{ a: [1, null] }, true])
})
await step('environment', async () => {
  const r = await sandbox.runCode('import os; os.environ["A"] + os.environ["FROM_CREATE"]', { envs: { A: 'a' } })
  equal(r.text, 'ayes')
})
await step('contexts', async () => {
  const context = await sandbox.createCodeContext({ cwd: '/tmp', language: 'javascript' })
  equal([context.language, context.cwd], ['javascript', '/tmp'])
  equal((await sandbox.runCode('const q = 1; process.cwd()', { context })).text, '/tmp')
  equal((await sandbox.listCodeContexts()).some((c) => c.id === context.id), true)
  await sandbox.restartCodeContext(context)
  equal((await sandbox.runCode('typeof q', { context })).text, 'undefined')
  await sandbox.removeCodeContext(context.id)
  await rejects(() => sandbox.runCode('1', { context }), NotFoundError)
})
await step('languages', async () => {
  equal((await sandbox.runCode('[1, 2].map((x) => x * 2)', { language: 'javascript' })).text, '[ 2, 4 ]')
  equal((await sandbox.runCode('echo $((6 * 7))', { language: 'bash' })).logs.stdout, ['42\n'])
})
await step('timeout interrupts', async () => {
  await rejects(() => sandbox.runCode('import time; time.sleep(60)', { timeoutMs: 1000 }), TimeoutError)
  equal((await sandbox.runCode('x')).text, '21')
})
await step('kernel dies', async () => {
  equal((await sandbox.runCode('import os; os._exit(1)')).error.name, 'KernelError')
  equal((await sandbox.runCode("'x' in dir()")).text, 'False')
})
await step('kill', async () => {
  const running = rejects(() => sandbox.runCode('import time; time.sleep(60)'), TimeoutError)
  await new Promise((resolve) => setTimeout(resolve, 500))
  await sandbox.kill()
  await running
})
await step('private traffic', async () => {
  const own = await Sandbox.create({ metadata: { 'atoll.tier': tier }, timeoutMs: 100_000, network: { allowPublicTraffic: false } })
  try {
    equal((await own.runCode('1')).text, '1')
    const headers = { 'E2b-Sandbox-Id': own.sandboxId, 'E2b-Sandbox-Port': '49999' }
    const at = process.env.E2B_SANDBOX_URL ?? `https://${own.getHost(49999)}` // in domain mode the host says which
    equal((await fetch(at + '/contexts', { headers })).status, 403)
  } finally {
    await own.kill()
  }
})
process.exit(exitCode())
