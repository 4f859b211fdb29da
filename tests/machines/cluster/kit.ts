/** What the tests of a cluster share: its config, its machines, and what each command of it has to keep. */

import { afterAll, beforeAll, expect } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS } from '../base/world.ts'
import { type ClusterRig, type Line, openRig } from './rig.ts'

export const STEP_MS = 5 * 60_000
export const NODES = ['node', 'node-2', 'node-3'] as const

export const BASE = {
  project: 'acme',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
  cluster: { servers: 'node', reserved_memory_mb: 64 },
}
export const withApp = (image: string) => ({
  ...BASE,
  apps: {
    web: {
      source: { image },
      port: 3000,
      replicas: 3,
      memory_mb: 64,
      env_file: 'web.env',
      health: { path: '/', interval_s: 1, timeout_s: 1, start_s: 5, retries: 2 },
      domains: [{ host: 'www.example.com', https: false }, { host: 'secure.example.com' }],
    },
  },
})

const tokenOf = (part: 'consul' | 'nomad'): string =>
  `$(sed -n 's/.*"${part}Management":"\\([^"]*\\)".*/\\1/p' /etc/landfall/cluster.json)`
/** Before commands of Consul's and Nomad's own, in a shell on a server. */
export const AS_MANAGER = `export CONSUL_HTTP_TOKEN=${tokenOf('consul')} NOMAD_TOKEN=${tokenOf('nomad')};`

export const say = (text: string): void => void process.stderr.write(`${text}\n`)
export const summaryOf = (lines: readonly Line[]): Line | undefined => lines.find(line => line.type === 'summary')
export const errorsOf = (lines: readonly Line[]): Line[] => lines.filter(line => line.type === 'error')

/** Machines for the tests of the file that calls it. */
export function useCluster() {
  let opened: ClusterRig | undefined
  const rig = (): ClusterRig => {
    if (!opened) throw new Error('the rig is not open')
    return opened
  }
  beforeAll(async () => {
    opened = await openRig(BASE)
    writeFileSync(join(opened.cwd, 'web.env'), 'GREETING=hello\nAPI_KEY=canary-of-the-cluster\n')
  }, BUILD_TIMEOUT_MS)
  afterAll(async () => {
    await opened?.close()
  }, CLOSE_TIMEOUT_MS)

  const configure = (config: Readonly<Record<string, unknown>>): void =>
    writeFileSync(join(rig().cwd, 'config.json'), JSON.stringify(config, null, 2))

  const succeed = async (...words: string[]): Promise<Line> => {
    const { code, lines, text } = await rig().script(...words)
    expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
    expect(text).not.toContain('canary-of-the-cluster')
    return summaryOf(lines) ?? { type: 'none' }
  }

  /** Every request of a whole command that could change something, by any vendor and over SSH. */
  const expectNothingToDo = async (): Promise<void> => {
    const { changes, applied, requests } = await succeed('cluster', 'apply', '--yes')
    const writes = Object.values(requests as Record<string, { writes: number }>).reduce((sum, each) => sum + each.writes, 0)
    expect({ changes, applied, writes }).toEqual({ changes: 0, applied: 0, writes: 0 })
  }

  /** Each of the machines ends TLS itself, with a certificate that holds, and sends plain HTTP there. */
  const expectSecure = async (text: string): Promise<void> => {
    const each = (answer: { status: string; location: string; text: string }) => NODES.map(machine => ({ machine, ...answer }))
    const sorted = async (url: string) => [...(await rig().ask(url))].sort((a, b) => (a.machine < b.machine ? -1 : 1))
    expect(await sorted('https://secure.example.com/')).toEqual(each({ status: '200', location: '', text }))
    expect(await sorted('http://secure.example.com/a?b')).toEqual(
      each({ status: '308', location: 'https://secure.example.com/a?b', text: '' }),
    )
  }
  return { rig, configure, succeed, expectNothingToDo, expectSecure }
}
