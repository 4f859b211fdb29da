/** Opens a world with one machine, says so, and waits to be killed; for the test of what that leaves. */

import { stdout } from 'node:process'
import { openTestWorld } from './world.ts'

if (import.meta.main) {
  const world = await openTestWorld()
  await world.ready(await world.createServer({ name: 'left' }))
  stdout.write(`${JSON.stringify({ namespaces: world.containers.namespaces, directory: world.directory })}\n`)
  await Bun.sleep(600_000)
}
