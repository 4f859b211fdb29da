/**
 * kill -9 of the tool at 20 moments of an installation on real machines, and one rerun each. Prints where each kill fell. Each round has
 * moments of all parts of an installation, one for each lane; CI carries out the first.
 */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { attemptsOf, oneServer, openContainers, openPlace, type Place, timelineOf } from './base/estate.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, until } from './base/world.ts'

/** Installations that go on side by side: much of one is waiting. */
const LANES = 4
const ROUNDS = 5
const KILLS = LANES * ROUNDS
const TRIAL_MS = 3 * 60_000
const GONE_MS = 60_000

let sandbox: Sandbox
const places: Place[] = []
const moments: string[] = []
let wholeMs = 0

beforeAll(async () => {
  sandbox = await openContainers()
  for (let lane = 1; lane <= LANES; lane++) places.push(openPlace(sandbox, oneServer(`lane-${lane}`)))
  // Undisturbed, in as many lanes as later, so that the moments lie in what a run here takes.
  const undisturbed = await Promise.all(places.map(place => place.run('setup --yes')))
  expect(undisturbed.map(({ code, errors }) => ({ code, errors }))).toEqual(places.map(() => ({ code: 0, errors: [] })))
  wholeMs = Math.min(...undisturbed.map(({ ms }) => ms))
  process.stderr.write(`undisturbed, ${LANES} side by side: ${(wholeMs / 1000).toFixed(1)} s\n`)
  for (let lane = 1; lane <= LANES; lane++) process.stderr.write(`  ${await timelineOf(sandbox, `lane-${lane}`)}\n`)
}, BUILD_TIMEOUT_MS + TRIAL_MS)

afterAll(async () => {
  await sandbox?.close()
  for (const place of places) place.close()
  expect(sandbox?.bugs).toEqual([])
  // The moments did fall into all parts of an installation.
  if (moments.length === KILLS) expect(new Set(moments).size).toBeGreaterThanOrEqual(5)
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

const trial = async (lane: number, kill: number) => {
  const [place, name] = [places[lane - 1], `lane-${lane}`]
  if (!place) throw new Error(`There is no lane ${lane}.`)
  await removeServer(name)
  const atMs = Math.round((wholeMs * kill) / (KILLS + 1))
  await place.run('setup --yes', { killedBy: Bun.sleep(atMs) })
  const moment = await momentOf(name)
  moments.push(moment)
  const { code, errors, ms } = await place.run('setup --yes')
  process.stderr.write(
    `  kill ${kill} after ${(atMs / 1000).toFixed(1)} s at: ${moment}; rerun ${(ms / 1000).toFixed(1)} s, exit code ${code}\n`,
  )
  return { kill, code, errors, servers: serversOf(name).length, attempts: await attemptsOf(sandbox, name) }
}

test.each(Array.from({ length: ROUNDS }, (_, index) => index + 1))(
  'killed with SIGKILL, one rerun finishes, and never are there two installers: round %d',
  async round => {
    const lanes = places.map((_, index) => index + 1)
    const kills = lanes.map(lane => (lane - 1) * ROUNDS + round)
    const trials = await Promise.all(lanes.map((lane, index) => trial(lane, kills[index] ?? 0)))
    expect(trials).toEqual(kills.map(kill => ({ kill, code: 0, errors: [], servers: 1, attempts: 1 })))
  },
  2 * TRIAL_MS,
)
