// What the scenarios of the JavaScript clients share: a line for each step, as tests/run.py reads them.
let failed = false

export function equal(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`)
}

export async function step(name, work) {
  try {
    await work()
    console.log(`ok ${name}`)
  } catch (error) {
    failed = true
    console.log(error.stack)
    console.log(`not ok ${name}: ${String(error.message).split('\n')[0].slice(0, 200)}`)
  }
}

export const exitCode = () => (failed ? 1 : 0)
