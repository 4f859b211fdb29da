/** Kill -9 at boundaries, one rerun: a seeded sample of them, and every one that has ever found something. All of them: `bun run test:faults --all`. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { isWrite, type Prepared, prepare, runCampaign, sample, titleOf } from './kill/campaign.ts'
import { createWorlds } from './kill/scenarios.ts'
import { nameOf } from './kill/trial.ts'

setDefaultTimeout(300_000)

const SEED = 20_260_918
const COUNT = 30

/** What each of these once left behind, by scenario and boundary. */
const REGRESSIONS: readonly (readonly [scenario: string, boundary: RegExp, once: string])[] = [
  [
    'setup in the empty world',
    /^api hetzner DELETE \/firewalls\/\d+#1:before$/,
    'a finished run that died with its lock left it for good',
  ],
  [
    'destroy in the full world',
    /^api hetzner DELETE \/firewalls\/\d+#1:before$/,
    'a firewall or the lock of a destroyed estate stayed',
  ],
  [
    'setup in the empty world',
    /^api dokploy POST \/api\/settings\.assignDomainServer#4:effect$/,
    'the rerun refused: the panel had changed since its own first look',
  ],
  ['setup in the empty world', /^file handle\.appendFile \.landfall\/example\/journal\.ndjson#\d+:torn$/, 'half a journal line'],
  [
    'setup in the empty world',
    /^file renameSync \.landfall\/example\/known_hosts\/<target>\.new#\d+:after$/,
    'the rerun refused: a machine had booted since its own first look',
  ],
  [
    'destroy in the droplets world',
    /^api digitalocean DELETE \/tags\/landfall-firewall-run:[^#]+#1:answer$/,
    'tags that had been the labels of what was gone',
  ],
  [
    'setup in the no droplets world',
    /^api digitalocean DELETE \/tags\/landfall-trust:bootstrap\/resources#1:before$/,
    'two host keys and two words of trust on one droplet',
  ],
  [
    'firewall apply in the other ports world',
    /^api digitalocean DELETE \/tags\/landfall-why:port_443#1:before$/,
    'a tag that had been the reason of a rule',
  ],
  [
    'deploy web --stable 0.1 in the app to deploy world',
    /^program \S+ append-app-history#1:effect$/,
    'the lock of a deploy that was cut off when all was done',
  ],
  ['setup in the empty world', /^program \S+ rotate-host-key#1:effect$/, 'a host key that no label names'],
  [
    'service scale in the larger backend world',
    /^api digitalocean POST \/droplets\/\d+\/actions#2:effect$/,
    'the rerun asked for the size that the droplet had got, was refused, and did not say that it was off',
  ],
  [
    'service in the no backend world',
    /^api digitalocean GET \/droplets\/\d+#5:before$/,
    'the rerun refused: a new NixOS answered with the key that was announced, and was asked for its service under the old one',
  ],
  [
    'provision rebuild in the droplets world',
    /^api digitalocean POST \/droplets#1:effect$/,
    'tags that were deleted in the moment in which a new droplet got them, which then was nobody’s',
  ],
  [
    'provision rebuild in the built world',
    /^api hetzner DELETE \/servers\/\d+#1:effect$/,
    'the rerun refused: no server stood, so the token was taken for another project’s, although the old addresses waited in this one',
  ],
  [
    'env pull web in the no variables here world',
    /^file handle\.writeFile \.\.env\.web\.<random>\.tmp#1:torn$/,
    'half a file with secrets, beside the config',
  ],
  [
    'env pull web in the no variables here world',
    /^file rename \.\.env\.web\.<random>\.tmp#1:after$/,
    'the rerun refused: the very file that it was to write was there',
  ],
]

const worlds = createWorlds()
let prepared: Prepared
beforeAll(async () => {
  prepared = await prepare(worlds)
})
afterAll(() => worlds.remove())

describe('after kill -9 at any boundary, one rerun ends in the same world', () => {
  test('every scenario was run undisturbed, and has boundaries to be cut at', () => {
    expect(prepared.undisturbed.size).toBeGreaterThan(40)
    expect(prepared.points.length).toBeGreaterThan(8_000)
    expect(prepared.points.filter(isWrite).length).toBeGreaterThan(5_000)
  })

  test(`${COUNT} of them, by seed ${SEED}: no duplicate, no orphan, no lock left, no stranger touched`, async () => {
    const points = sample(prepared.points.filter(isWrite), COUNT, SEED)
    const { failed, passed, unreached } = await runCampaign({ worlds, prepared, points })
    expect(failed.map(({ point, why }) => `${point}: ${why.join('; ')}`)).toEqual([])
    // A request more or less, by timing; most of them must have been reached, or this test says nothing.
    expect(passed).toBeGreaterThan(COUNT * 0.8)
    expect(passed + unreached.length).toBe(COUNT)
  })

  for (const [scenario, boundary, once] of REGRESSIONS)
    test(`${scenario}, ${boundary.source}: not again what it once found (${once})`, async () => {
      const matching = prepared.points.filter(point => point.scenario.name === scenario && boundary.test(nameOf(point.boundary)))
      const point = matching[matching.length >> 1]
      if (!point) throw new Error(`no boundary of ${scenario} is called that any more`)
      const { failed } = await runCampaign({ worlds, prepared, points: [point] })
      expect(failed.map(({ why }) => `${titleOf(point)}: ${why.join('; ')}`)).toEqual([])
    })
})
