/**
 * A worker of a Dokploy server's swarm on real systems: Docker's own swarm over a private network, containers on both nodes that speak to
 * each other, a neighbour who is not in it, a stranger outside, and a worker that is taken out again while its containers move.
 */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { openContainers, openPlace, type Place } from './base/estate.ts'
import { type Watch, watchAsStranger } from './base/stranger.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, until } from './base/world.ts'

const SETUP_MS = 10 * 60_000
const MOVE_MS = 2 * 60_000
const ALLOWED = [22, 80, 443]

const configOf = (workers: number) => ({
  project: 'crew',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: { range: '172.16.0.0/16' },
  dokploy: { admin_email: 'admin@example.com' },
  servers: {
    prod: { type: 'cx33', dokploy: true },
    other: { type: 'cx23' },
    ...(workers === 0 ? {} : { worker: { type: 'cx23', count: workers, joins: 'prod' } }),
  },
})

let sandbox: Sandbox
let place: Place
let stranger: Watch

beforeAll(async () => {
  sandbox = await openContainers({
    async afterEffect({ vendor, method }) {
      if (vendor === 'hetzner' && method !== 'GET') await stranger.look()
    },
  })
  stranger = watchAsStranger(sandbox)
  place = openPlace(sandbox, configOf(1))
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await stranger?.stop()
  await sandbox?.close()
  place?.close()
}, CLOSE_TIMEOUT_MS)

const inside = async (name: string, command: string): Promise<string> => {
  const ran = await sandbox.controls.containers?.exec(name, ['sh', '-c', command])
  if (ran?.exitCode !== 0) throw new Error(`On ${name}, "${command}" ended with ${ran?.exitCode}: ${ran?.stderr}`)
  return ran.stdout.trim()
}
const serverOf = (name: string) => sandbox.controls.hetzner.serversForMachines().find(each => each.name === name)
const succeeds = async (command: string) => {
  const before = sandbox.requests().length
  const ran = await place.run(command)
  expect({ command, code: ran.code, errors: ran.errors }).toEqual({ command, code: 0, errors: [] })
  const writes = sandbox.requests().slice(before)
  return {
    ...ran,
    writes: writes.filter(({ method, vendor }) => method !== 'GET' && vendor === 'hetzner').map(({ path }) => path),
  }
}
const summaryOf = (ran: Awaited<ReturnType<typeof succeeds>>) => ran.lines.find(line => line.type === 'summary')
const nodes = () => inside('prod', "docker node ls --format '{{.Hostname}} {{.Status}} {{.Availability}}' | sort")
/** Of the containers of a service that run now: those whose own check, which asks the database on the other node, is content. */
const healthy = async (name: string) =>
  Number(await inside(name, 'docker ps -q --filter label=com.docker.swarm.service.name=web --filter health=healthy | wc -l'))
/** Which of the swarm's TCP ports `from` finds open at a private address of `to`. */
const reached = (from: string, to: string) => {
  const [address = ''] = serverOf(to)?.privateIps ?? []
  const tries = [22, 2377, 7946].map(
    port => `timeout 3 bash -c 'exec 3<>/dev/tcp/${address}/${port}' 2>/dev/null && echo ${port} &`,
  )
  return inside(from, `${tries.join('\n')}\nwait`).then(text =>
    text
      .split('\n')
      .filter(Boolean)
      .map(Number)
      .sort((a, b) => a - b),
  )
}
const expectNothingElseOpen = () => {
  const { ipv4, ipv6 } = stranger.seen()
  expect([...ipv4, ...ipv6].filter(port => !ALLOWED.includes(port))).toEqual([])
}

describe('a worker of a swarm', () => {
  test(
    'joins over the private network, and nobody but the members reaches a port of the swarm',
    async () => {
      const ran = await succeeds('setup --yes')
      process.stderr.write(`setup with a worker: ${Math.round(ran.ms / 1000)} s\n`)
      expect(await nodes()).toBe('prod Ready Active\nworker Ready Active')
      expect(
        await inside('worker', "docker info --format '{{.Swarm.NodeAddr}} {{range .Swarm.RemoteManagers}}{{.Addr}}{{end}}'"),
      ).toBe(`${serverOf('worker')?.privateIps[0]} ${serverOf('prod')?.privateIps[0]}:2377`)
      expect(await reached('worker', 'prod')).toEqual([22, 2377, 7946])
      expect(await reached('prod', 'worker')).toEqual([22, 7946])
      for (const name of ['prod', 'worker']) expect(await reached('other', name)).toEqual([22])
      expectNothingElseOpen()
      expect(stranger.seen().looks).toBeGreaterThan(5)
      const own = readdirSync(join(place.cwd, '.landfall'), { recursive: true, withFileTypes: true }).filter(each =>
        each.isFile(),
      )
      const kept = own.map(each => readFileSync(join(each.parentPath, each.name), 'utf8'))
      expect(kept.length).toBeGreaterThan(0)
      for (const text of [ran.text, ...kept]) expect(text).not.toContain('SWMTKN')
    },
    SETUP_MS,
  )

  test(
    'runs containers that speak with those of the other node',
    async () => {
      const secret = (name: string) => `--secret source=dokploy_postgres_password,target=/run/secrets/${name}`
      await inside(
        'prod',
        `docker service create --quiet --detach --no-resolve-image --name web --replicas 2 --endpoint-mode dnsrr --network dokploy-network \
        ${secret('postgres_password')} --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password stand-in/dokploy:1`,
      )
      await until(
        async () => [await healthy('prod'), await healthy('worker')],
        counts => counts.join() === '1,1',
        MOVE_MS,
      )
      const status = await place.run('status')
      expect(status.lines.find(line => line.fact === 'worker worker')).toMatchObject({ state: 'done', detail: '1 container' })
    },
    SETUP_MS,
  )

  test(
    'needs nothing the second time',
    async () => {
      const ran = await succeeds('setup --yes')
      expect({ writes: ran.writes, summary: summaryOf(ran) }).toMatchObject({ writes: [], summary: { changes: 0, applied: 0 } })
    },
    SETUP_MS,
  )

  test(
    'is drained before it is deleted: its containers run on, elsewhere, and nobody is let in at its address',
    async () => {
      const address = serverOf('worker')?.privateIps[0] ?? ''
      place.configure(configOf(0))
      const unsaid = await place.run('setup --yes')
      expect({ code: unsaid.code, nodes: await nodes() }).toEqual({ code: 3, nodes: 'prod Ready Active\nworker Ready Active' })
      const ran = await succeeds('setup --yes --confirm crew')
      process.stderr.write(`setup without the worker: ${Math.round(ran.ms / 1000)} s\n`)
      expect(ran.text).toContain('drain worker and take it out of the swarm of prod')
      expect(await nodes()).toBe('prod Ready Active')
      expect(serverOf('worker')).toBeUndefined()
      await until(
        () => healthy('prod'),
        count => count === 2,
        MOVE_MS,
      )
      expect(await inside('prod', 'cat /run/landfall/swarm-peers; iptables -t raw -S landfall-guard')).not.toContain(address)
      expect(await reached('other', 'prod')).toEqual([22])
      expect((await succeeds('setup --yes')).writes).toEqual([])
      expectNothingElseOpen()
      expect(sandbox.bugs).toEqual([])
    },
    SETUP_MS,
  )
})
