/** An estate made anew in one command: addresses and certificates outlive the servers, and nothing is lost before it may be. */

import { afterAll, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, openPlace, type Place, TWO_SERVERS } from '../scripts/run.ts'

afterAll(closePlaces)

const ONE = { ...TWO_SERVERS, hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } }, dns: { domain: 'example.com' } }
const LONG = { timeoutMs: 120_000 }
/** `--sandbox=URL` is what says that everything is simulated, so that no image has to be built. */
const here = (place: Place): string => `--sandbox=${place.sandbox.environment.LANDFALL_INTERNET}`
const run = async (place: Place, command: string) => {
  const ended = await place.run(`${command} --json ${here(place)}`, LONG)
  return { code: ended.code, errors: JSON.stringify(ended.errors()), ended }
}
const servers = (place: Place) => place.sandbox.controls.hetzner.dump().servers
const machines = (place: Place) => JSON.stringify(place.sandbox.world().machines)
const ordersOf = (place: Place): number => Number(/"orders":(\d+)/.exec(machines(place))?.[1] ?? 0)

const setUp = async (): Promise<Place> => {
  const place = await openPlace(ONE)
  const { code, errors } = await run(place, 'setup --yes')
  expect({ code, errors }).toEqual({ code: 0, errors: '[]' })
  return place
}

describe('provision rebuild', () => {
  test('makes the server anew under its addresses, with its certificates, and finds nothing to do afterwards', async () => {
    const place = await setUp()
    const [before] = servers(place)
    expect(ordersOf(place)).toBe(1)
    const planned = await run(place, 'provision rebuild --plan')
    expect(planned.code).toBe(2)
    expect(planned.ended.stdout).toContain('keep the address')
    expect(planned.ended.stdout).toContain('Dokploy’s projects, databases and volumes there are lost')
    expect(servers(place)[0]?.id).toBe(before?.id)

    const unnamed = await run(place, 'provision rebuild --yes')
    expect({ code: unnamed.code, id: servers(place)[0]?.id }).toEqual({ code: 3, id: before?.id })

    const done = await run(place, 'provision rebuild --yes --confirm example')
    expect({ code: done.code, errors: done.errors }).toEqual({ code: 0, errors: '[]' })
    const [after] = servers(place)
    expect(servers(place)).toHaveLength(1)
    expect(after?.id).not.toBe(before?.id)
    expect({ ipv4: after?.ipv4, ipv6: after?.ipv6 }).toEqual({ ipv4: before?.ipv4, ipv6: before?.ipv6 })
    // No second order: the certificate came along.
    expect(ordersOf(place)).toBe(1)
    const kept = join(place.cwd, '.landfall', 'sandbox', 'example', 'kept-certificates')
    expect(existsSync(kept) ? readdirSync(kept) : []).toEqual([])

    const again = await run(place, 'setup --yes')
    expect({ code: again.code, errors: again.errors, applied: again.ended.summary().applied }).toEqual({
      code: 0,
      errors: '[]',
      applied: 0,
    })
    const gone = await run(place, 'destroy --yes --confirm example')
    expect({ code: gone.code, errors: gone.errors }).toEqual({ code: 0, errors: '[]' })
    expect(place.sandbox.controls.hetzner.dump().ips).toEqual([])
  }, 240_000)

  test('gives up what it is told to', async () => {
    const place = await setUp()
    const [before] = servers(place)
    const done = await run(place, 'provision rebuild --yes --confirm example --drop addresses --drop certificates')
    expect({ code: done.code, errors: done.errors }).toEqual({ code: 0, errors: '[]' })
    expect(servers(place)[0]?.id).not.toBe(before?.id)
    expect(machines(place)).toContain('"state":"issued"')
    expect((await run(place, 'provision rebuild --yes --drop backups')).code).toBe(64)
  }, 240_000)
})
