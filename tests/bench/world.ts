/** A sandbox in a process of its own, so that what is measured does not share its event loop. Ends when its standard input does. */

import { startSandbox } from '../../lib/sandbox/sandbox.ts'

const settings = JSON.parse(process.argv[2] ?? '{}')
const sandbox = await startSandbox({ settings, seed: { zones: [], goldenImage: false } })
sandbox.controls.hetzner.setServerLimit(10_000)
process.stdout.write(`${JSON.stringify(sandbox.environment)}\n`)
for await (const _ of process.stdin);
await sandbox.close()
