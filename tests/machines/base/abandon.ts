/** Opens a world with one machine, says so, and waits to be killed; for the test of what that leaves. */

import { stdout } from 'node:process'
import { openTestWorld } from './world.ts'

if (import.meta.main) {
  const world = await openTestWorld()
  const { target } = await world.createServer({ name: 'left' })
  await world.machines.waitReady(target, 60_000, new AbortController().signal)
  stdout.write(`${JSON.stringify({ namespaces: world.containers.namespaces })}\n`)
  await Bun.sleep(600_000)
}
