/** Workers of a Dokploy server's swarm: from nothing, one more, one less, and none; what is refused. */

import { afterAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { callAs, closePlaces, filesBelow, mutationsIn, openPlace, type Place, ROOT, waitFor } from './run.ts'

afterAll(closePlaces)

const LIMIT = 120_000
const EXAMPLE = JSON.parse(readFileSync(join(ROOT, 'examples/swarm.json'), 'utf8'))
const estate = (count: number) => {
  const { prod, worker } = EXAMPLE.servers
  return { ...EXAMPLE, project: 'solo', servers: { prod, ...(count === 0 ? {} : { worker: { ...worker, count } }) } }
}

interface Machine {
  readonly name: string
  readonly swarm?: {
    readonly peers: readonly string[]
    readonly nodes: readonly string[]
    readonly isMember: boolean
  }
}
const machinesOf = (place: Place) => (place.sandbox.world() as { machines: Machine[] }).machines
const swarmOf = (place: Place, name: string) => machinesOf(place).find(each => each.name === name)?.swarm
const nodesOf = (place: Place) => swarmOf(place, 'prod')?.nodes
const namesOf = (place: Place) => place.sandbox.controls.hetzner.dump().servers.map(each => each.name)
const privateOf = (place: Place, name: string) =>
  place.sandbox.controls.hetzner.serversForMachines().find(each => each.name === name)?.privateIps[0] ?? ''

test(
  'a swarm grows by one, shrinks by one after it was drained, and ends',
  async () => {
    const place = await openPlace(estate(1))
    const first = await place.run('setup --yes --json')
    expect({ code: first.code, errors: first.errors() }).toEqual({ code: 0, errors: [] })
    expect(nodesOf(place)).toEqual(['worker active'])
    // Each lets in the other, and nobody else does.
    expect(swarmOf(place, 'prod')?.peers).toEqual([privateOf(place, 'worker')])
    expect(swarmOf(place, 'worker')?.peers).toEqual([privateOf(place, 'prod')])

    const second = await place.run('setup --yes --json')
    expect({ code: second.code, writes: mutationsIn(second.requests), applied: second.summary().applied }).toEqual({
      code: 0,
      writes: [],
      applied: 0,
    })
    const status = await place.run('status')
    expect(status.output).toContain('worker works for prod — 0 containers')

    place.writeConfig(estate(2))
    const plan = await place.run('setup --plan')
    expect(plan.output).toContain('join worker-2 to the swarm of prod as a worker')
    expect(plan.output.replace(/\s+/g, ' ')).toContain('open 2377, 7946 and 4789 of worker-2 to its swarm')
    expect((await place.run('setup --yes --json')).code).toBe(0)
    expect(nodesOf(place)).toEqual(['worker active', 'worker-2 active'])
    expect(swarmOf(place, 'worker')?.peers).toEqual([privateOf(place, 'prod'), privateOf(place, 'worker-2')])

    place.writeConfig(estate(1))
    const unsaid = await place.run('setup --yes')
    expect({ code: unsaid.code, nodes: nodesOf(place) }).toEqual({ code: 3, nodes: ['worker active', 'worker-2 active'] })
    const address = privateOf(place, 'worker-2')
    const shrunk = await place.run('setup --yes --confirm solo --json')
    expect({ code: shrunk.code, errors: shrunk.errors() }).toEqual({ code: 0, errors: [] })
    expect(shrunk.output).toContain('drain worker-2 and take it out of the swarm of prod')
    expect(nodesOf(place)).toEqual(['worker active'])
    expect(namesOf(place)).toEqual(['prod', 'worker'])
    for (const name of ['prod', 'worker']) expect(swarmOf(place, name)?.peers).not.toContain(address)

    // The group is gone from the file: what carries its mark is drained and deleted all the same.
    place.writeConfig(estate(0))
    const ended = await place.run('provision apply --yes --confirm solo --json')
    expect({ code: ended.code, errors: ended.errors() }).toEqual({ code: 0, errors: [] })
    expect({ nodes: nodesOf(place), servers: namesOf(place) }).toEqual({ nodes: [], servers: ['prod'] })
    const shut = await place.run('setup --yes --json')
    expect({ code: shut.code, peers: swarmOf(place, 'prod')?.peers }).toEqual({ code: 0, peers: [] })
    for (const { output } of place.history) expect(output).not.toContain('SWMTKN')
  },
  LIMIT,
)

test(
  'servers that are there join by dokploy.ts; one that was deleted by hand comes back, and its former node is forgotten',
  async () => {
    const place = await openPlace(estate(1))
    expect((await place.run('provision apply --yes --json')).code).toBe(0)
    expect(nodesOf(place)).toBeUndefined()
    const joined = await place.run('dokploy prod --yes --json')
    expect({ code: joined.code, errors: joined.errors() }).toEqual({ code: 0, errors: [] })
    expect(nodesOf(place)).toEqual(['worker active'])

    const id = place.sandbox.controls.hetzner.dump().servers.find(each => each.name === 'worker')?.id
    await callAs(place.sandbox, 'hetzner', 'DELETE', `/servers/${id}`)
    await waitFor('worker is gone', () => !namesOf(place).includes('worker'))
    const doctor = await place.run('doctor')
    expect(doctor.output).toContain('worker in the swarm of prod is down')

    const again = await place.run('setup --yes --json')
    expect({ code: again.code, errors: again.errors() }).toEqual({ code: 0, errors: [] })
    expect(nodesOf(place)).toEqual(['worker active'])
    expect(swarmOf(place, 'worker')).toMatchObject({ isMember: true, peers: [privateOf(place, 'prod')] })
    expect((await place.run('doctor')).output).toContain('swarms: prod: 2 nodes are ready')
    // The whole bill: two servers with an address each.
    expect((await place.run('cost')).output).toContain('worker')
    for (const file of Object.keys(filesBelow(`${place.cwd}/.landfall`)).filter(name => /ndjson|json$/.test(name)))
      expect(await Bun.file(`${place.cwd}/.landfall/${file}`).text()).not.toContain('SWMTKN')
  },
  LIMIT,
)

test(
  'a worker stays while its manager cannot say what runs on it',
  async () => {
    const place = await openPlace(estate(1))
    expect((await place.run('setup --yes --json')).code).toBe(0)
    place.writeConfig(estate(0))
    place.sandbox.controls.machines.neverBoots('prod')
    const refused = await place.run('provision apply --yes --confirm solo')
    expect({ code: refused.code, names: namesOf(place) }).toEqual({ code: 3, names: ['prod', 'worker'] })
    expect(refused.output.replace(/\s+/g, ' ')).toContain('worker is to leave the swarm of prod, which does not answer')
    place.sandbox.controls.machines.heal('prod')
    expect((await place.run('provision apply --yes --confirm solo')).code).toBe(0)
    expect({ names: namesOf(place), nodes: nodesOf(place) }).toEqual({ names: ['prod'], nodes: [] })
  },
  LIMIT,
)

test(
  'a swarm whose manager was deleted, or that is rebuilt whole, is made anew with the same workers',
  async () => {
    const place = await openPlace(estate(1))
    expect((await place.run('setup --yes --json')).code).toBe(0)
    const id = place.sandbox.controls.hetzner.dump().servers.find(each => each.name === 'prod')?.id
    await callAs(place.sandbox, 'hetzner', 'DELETE', `/servers/${id}`)
    await waitFor('prod is gone', () => !namesOf(place).includes('prod'))
    const mutual = () => ({
      nodes: nodesOf(place),
      prod: swarmOf(place, 'prod')?.peers,
      worker: swarmOf(place, 'worker')?.peers,
    })
    const wanted = () => ({
      nodes: ['worker active'],
      prod: [privateOf(place, 'worker')],
      worker: [privateOf(place, 'prod')],
    })
    for (const command of ['setup --yes --json', 'provision rebuild --yes --confirm solo --json']) {
      const ran = await place.run(command)
      expect({ command, code: ran.code, errors: ran.errors() }).toEqual({ command, code: 0, errors: [] })
      expect(mutual()).toEqual(wanted())
    }
    expect((await place.run('setup --yes --json')).summary().applied).toBe(0)
  },
  LIMIT,
)

test(
  'droplets work for a swarm as well',
  async () => {
    const place = await openPlace({
      project: 'solo',
      digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
      network: { range: '172.30.0.0/16', subnet: '172.30.0.0/16' },
      dokploy: { admin_email: 'admin@example.com' },
      servers: { prod: { dokploy: true }, worker: { joins: 'prod' } },
    })
    const first = await place.run('setup --yes --json')
    expect({ code: first.code, errors: first.errors(), nodes: nodesOf(place) }).toEqual({
      code: 0,
      errors: [],
      nodes: ['worker active'],
    })
    const second = await place.run('setup --yes --json')
    expect({ code: second.code, writes: mutationsIn(second.requests) }).toEqual({ code: 0, writes: [] })
  },
  LIMIT,
)
