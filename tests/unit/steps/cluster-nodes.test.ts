/** What is read from a cluster's machines: whose certificates are good, on machines that keep no authority too. */

import { describe, expect, test } from 'bun:test'
import { createAuthority, issue } from '../../../lib/cluster/pki.ts'
import { type ClusterSecrets, generateSecrets, renderSecrets } from '../../../lib/cluster/secrets.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { type ClusterDeps, readNodes } from '../../../lib/steps/cluster-world.ts'
import type { MachineState } from '../../../lib/steps/machine.ts'
import { load } from '../estate/configs.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps as base, server } from './worlds.ts'

const DAY_MS = 86_400_000
const NOW_MS = Date.UTC(2026, 8, 1)
/** Of a member's certificate. */
const LASTS_MS = 825 * DAY_MS

const estate = load({
  project: 'nextnode',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  servers: { node: { type: 'cx33' }, extra: { type: 'cx33' } },
  cluster: { servers: 'node', workers: 'extra' },
})
const secrets = generateSecrets(await createAuthority('acme', NOW_MS - LASTS_MS))
const theirs = generateSecrets(await createAuthority('other', NOW_MS))

const encoded = (text: string): string => Buffer.from(text).toString('base64')
const ADDRESSES = { node: '172.16.0.2', extra: '172.16.0.3' } as const

const certified = async (by: ClusterSecrets, privateIp: string, atMs: number): Promise<string> =>
  (await issue(by, { name: 'extra', datacenter: 'acme', role: 'worker', privateIp }, atMs)).certificate

/** What a worker's certificate counts as, where the server keeps `kept`. */
async function judged(pem: string, kept: ClusterSecrets | 'none' = secrets): Promise<string> {
  if (!estate.cluster) throw new Error('the test config has no cluster')
  const deps: ClusterDeps = {
    ...base,
    estate,
    cluster: estate.cluster,
    clock: fakeClock({ startMs: NOW_MS }),
    programs: PROGRAM_TEXTS,
    machines: {
      async run({ name }: { name: keyof typeof ADDRESSES }, program: { name: string }) {
        if (program.name === 'read-cluster-secrets')
          return kept !== 'none'
            ? { exitCode: 0, stdout: `SECRETS ${encoded(renderSecrets(kept).reveal())}\n`, stderr: '' }
            : { exitCode: 4, stdout: '', stderr: '' }
        const certificates = name === 'extra' ? [`consul_certificate=${encoded(pem)}`, `nomad_certificate=${encoded(pem)}`] : []
        return { exitCode: 0, stdout: [`addresses=${ADDRESSES[name]}@enp7s0`, ...certificates, ''].join('\n'), stderr: '' }
      },
    } as unknown as ClusterDeps['machines'],
    consulOn: () => Promise.reject(new Error('not asked')),
    nomadOn: () => Promise.reject(new Error('not asked')),
  }
  const ready = { state: 'ready', trust: 'pinned' } as unknown as MachineState
  const nodes = await readNodes(deps, [server('node'), server('extra')], { node: ready, extra: ready })
  const { extra } = nodes
  if (extra?.state !== 'open') throw new Error(`extra is not open: ${extra?.why}`)
  expect(extra.parts.nomad.certificate).toBe(extra.parts.consul.certificate)
  return extra.parts.consul.certificate
}

describe("a worker's certificate, which a server's authority judges", () => {
  const { extra } = ADDRESSES
  test('good, and for long', async () => expect(await judged(await certified(secrets, extra, NOW_MS))).toBe('good'))
  test('one that ends within two months', async () =>
    expect(await judged(await certified(secrets, extra, NOW_MS - LASTS_MS + 30 * DAY_MS))).toBe('bad'))
  test('one that has ended', async () =>
    expect(await judged(await certified(secrets, extra, NOW_MS - LASTS_MS - DAY_MS))).toBe('bad'))
  test('for another address', async () => expect(await judged(await certified(secrets, '172.16.0.9', NOW_MS))).toBe('bad'))
  test('by another authority', async () => expect(await judged(await certified(theirs, extra, NOW_MS))).toBe('bad'))
  test('none', async () => expect(await judged('')).toBe('bad'))
  test('is not made anew where no authority can be read', async () =>
    expect(await judged(await certified(theirs, extra, NOW_MS), 'none')).toBe('good'))
})
