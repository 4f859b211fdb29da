/** kill -9 of the tool at 20 moments of an installation on real machines, and one rerun each. Prints where each kill fell. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { attemptsOf, oneServer, openContainers, openPlace, type Place } from './base/estate.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, until } from './base/world.ts'

const KILLS = 20
/** Installations that go on side by side: much of one is waiting. */
const LANES = 4
const TRIAL_MS = 3 * 60_000
const GONE_MS = 60_000

let sandbox: Sandbox
const places: Place[] = []

beforeAll(async () => {
  sandbox = await openContainers()
  for (let lane = 1; lane <= LANES; lane++) places.push(openPlace(sandbox, oneServer(`lane-${lane}`)))
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await sandbox?.close()
  for (const place of places) place.close()
}, CLOSE_TIMEOUT_MS)

const serversOf = (name: string) => sandbox.controls.hetzner.serversForMachines().filter(server => server.name === name)

/** What the machine was at when the tool died; `-` before it could say. */
const momentOf = async (name: string): Promise<string> => {
  if (serversOf(name).length === 0) return 'no server yet'
  const ran = await sandbox.controls.containers?.exec(name, [
    'sh',
    '-c',
    'cat /var/lib/landfall/dokploy-install.stage 2>/dev/null || echo before the installation',
  ])
  return ran?.stdout.trim() || 'booting'
}

const removeServer = async (name: string): Promise<void> => {
  for (const { id } of serversOf(name))
    await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}/servers/${id}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${sandbox.environment.HCLOUD_TOKEN}` },
    })
  await until(
    async () => serversOf(name).length,
    count => count === 0,
    GONE_MS,
  )
  await sandbox.controls.containers?.settled()
}

interface Trial {
  readonly kill: number
  readonly atMs: number
  readonly moment: string
  readonly rerunCode: number
  readonly errors: readonly string[]
  readonly servers: number
  readonly attempts: number
}

describe('the tool, killed with SIGKILL while it installs', () => {
  test(
    'finishes with one rerun wherever it was killed, and never are there two installers',
    async () => {
      // Undisturbed, in as many lanes as later, so that the moments lie in what a run here takes.
      const undisturbed = await Promise.all(places.map(place => place.run('setup --yes')))
      expect(undisturbed.map(({ code, errors }) => ({ code, errors }))).toEqual(places.map(() => ({ code: 0, errors: [] })))
      const wholeMs = Math.min(...undisturbed.map(({ ms }) => ms))
      process.stderr.write(`undisturbed, ${LANES} side by side: ${(wholeMs / 1000).toFixed(1)} s\n`)

      const left = Array.from({ length: KILLS }, (_, index) => index + 1)
      const trials: Trial[] = []
      await Promise.all(
        places.map(async (place, index) => {
          const name = `lane-${index + 1}`
          for (let kill = left.shift(); kill !== undefined; kill = left.shift()) {
            await removeServer(name)
            const atMs = Math.round((wholeMs * kill) / (KILLS + 1))
            await place.run('setup --yes', { killedBy: Bun.sleep(atMs) })
            const moment = await momentOf(name)
            const rerun = await place.run('setup --yes')
            const { length: servers } = serversOf(name)
            const attempts = await attemptsOf(sandbox, name)
            trials.push({ kill, atMs, moment, rerunCode: rerun.code, errors: rerun.errors, servers, attempts })
            const took = `rerun ${(rerun.ms / 1000).toFixed(1)} s`
            process.stderr.write(
              `  kill ${kill} after ${(atMs / 1000).toFixed(1)} s at: ${moment}; ${took}, exit code ${rerun.code}\n`,
            )
          }
        }),
      )
      trials.sort((a, b) => a.kill - b.kill)
      expect(
        trials.map(({ kill, rerunCode, errors, servers, attempts }) => ({ kill, rerunCode, errors, servers, attempts })),
      ).toEqual(
        Array.from({ length: KILLS }, (_, index) => ({ kill: index + 1, rerunCode: 0, errors: [], servers: 1, attempts: 1 })),
      )
      // The moments did fall into all parts of it.
      expect(new Set(trials.map(trial => trial.moment)).size).toBeGreaterThanOrEqual(5)
      expect(sandbox.bugs).toEqual([])
    },
    (KILLS + 1) * TRIAL_MS,
  )
})
