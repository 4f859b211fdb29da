/** Servers up and down: the price, the disk that never shrinks, one after another, and nothing to do the second time. */

import { afterAll, expect, test } from 'bun:test'
import { closePlaces, mutationsIn, openPlace, type Place } from './run.ts'

afterAll(closePlaces)

const LIMIT = 120_000
const estate = (dev: string, prod: string) => ({
  project: 'solo',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  servers: { dev: { type: dev }, prod: { type: prod } },
})
const typesOf = (place: Place) =>
  Object.fromEntries(place.sandbox.controls.hetzner.dump().servers.map(each => [each.name, `${each.type}, ${each.diskGb} GB`]))

test(
  'up and down again, with the price and the disk in the plan',
  async () => {
    const place = await openPlace(estate('cx23', 'cx33'))
    expect((await place.run('provision apply --yes')).code).toBe(0)
    place.writeConfig(estate('cx33', 'cx43'))
    // An apply changes no size by itself: it would take the servers away.
    expect((await place.run('provision apply --yes --json')).code).toBe(0)
    expect(typesOf(place)).toEqual({ dev: 'cx23, 40 GB', prod: 'cx33, 80 GB' })

    const plan = await place.run('provision scale --plan')
    expect(plan.code).toBe(2)
    expect(plan.output).toContain('change dev from cx23 to cx33')
    expect(plan.output).toContain('3.99 → 6.49 EUR a month net')
    expect(plan.output).toContain('its disk stays at 40 of 80 GB, so that it can go back')

    expect((await place.run('provision scale --server dev --yes --json')).code).toBe(0)
    expect(typesOf(place)).toEqual({ dev: 'cx33, 40 GB', prod: 'cx33, 80 GB' })
    expect((await place.run('provision scale --yes --json')).code).toBe(0)
    expect(typesOf(place)).toEqual({ dev: 'cx33, 40 GB', prod: 'cx43, 80 GB' })
    const before = place.sandbox.requests().length
    expect((await place.run('provision scale --yes --json')).code).toBe(0)
    expect(mutationsIn(place.sandbox.requests().slice(before))).toEqual([])
    expect(place.sandbox.controls.hetzner.dump().servers.map(each => each.status)).toEqual(['running', 'running'])

    place.writeConfig(estate('cx23', 'cx23'))
    const down = await place.run('provision scale --server dev --yes --json')
    expect(down.code).toBe(0)
    const refused = await place.run('provision scale --yes')
    expect(refused.code).toBe(3)
    expect(refused.output).toContain('prod has a disk of 80 GB, and cx23 only 40 GB: a disk never shrinks.')
    expect(typesOf(place)).toEqual({ dev: 'cx23, 40 GB', prod: 'cx43, 80 GB' })
  },
  LIMIT,
)

test(
  'a name that is no server’s, and a member of a cluster, are refused',
  async () => {
    const place = await openPlace(estate('cx23', 'cx33'))
    const unknown = await place.run('provision scale --server dve --yes')
    expect({ code: unknown.code, output: unknown.output }).toEqual({
      code: 64,
      output: expect.stringContaining('The estate has no server "dve".'),
    })
    place.writeConfig({ ...estate('cx23', 'cx33'), network: {}, cluster: { servers: 'prod' } })
    const member = await place.run('provision scale --server prod --yes --json')
    expect({ code: member.code, output: member.output }).toEqual({
      code: 3,
      output: expect.stringContaining('bun scripts/cluster.ts replace prod'),
    })
  },
  LIMIT,
)

test(
  'another location and system image are told by every look, and a rebuild makes them so',
  async () => {
    const wanted = (location: string, image: string) => ({ ...estate('cx23', 'cx33'), hetzner: { location, image } })
    const place = await openPlace(wanted('nbg1', 'debian-12'))
    expect((await place.run('setup --yes --json')).code).toBe(0)
    expect((await place.run('status')).code).toBe(0)

    place.writeConfig(wanted('fsn1', 'ubuntu-24.04'))
    for (const [look, exit] of [
      ['setup --yes', 0],
      ['status', 2],
    ] as const) {
      const { code, stdout, requests } = await place.run(look)
      expect(`${look}: ${code}`).toBe(`${look}: ${exit}`)
      expect(stdout.replace(/\s+/g, ' ')).toContain(
        'dev: config.json wants it in fsn1, made from ubuntu-24.04 bun scripts/provision.ts rebuild',
      )
      expect(mutationsIn(requests)).toEqual([])
    }

    expect((await place.run('provision rebuild --yes --confirm solo --json')).code).toBe(0)
    const { servers } = place.sandbox.controls.hetzner.dump()
    expect(servers.map(({ name, location }) => `${name} in ${location}`).sort()).toEqual(['dev in fsn1', 'prod in fsn1'])
    const status = await place.run('status')
    expect({ code: status.code, says: status.stdout.includes('differs') }).toEqual({ code: 0, says: false })
  },
  LIMIT,
)

test(
  'a server that config.json calls otherwise is told to stay and to be billed',
  async () => {
    const called = (name: string) => ({ ...estate('cx23', 'cx23'), servers: { [name]: { type: 'cx23' } } })
    const place = await openPlace(called('web'))
    expect((await place.run('provision apply --yes')).stdout).not.toContain('stays')
    place.writeConfig(called('site'))
    const renamed = await place.run('provision apply --yes')
    expect(Object.keys(typesOf(place)).sort()).toEqual(['site', 'web'])
    expect(renamed.stdout.replace(/\s+/g, ' ')).toContain(
      'web, which config.json does not name, and is billed: name it there again, or delete it in the Hetzner console',
    )
  },
  LIMIT,
)
