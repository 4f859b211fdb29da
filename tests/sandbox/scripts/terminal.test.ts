/** Scripts at a real terminal of 80×24: the questions, the plan, the list of steps, Ctrl-C; and that nobody is asked where nobody sits. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SANDBOX_PROJECT, SANDBOX_TOKENS, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { closePlaces, type Ended, lockIn, mutationsIn, ONE_SERVER, openPlace, type Place } from './run.ts'
import { COLUMNS, KEYS, openTerminal, ROWS, type Session } from './terminal.ts'

const sessions: Session[] = []
const sit = (command: string, place: Place, env: Readonly<Record<string, string | undefined>> = {}): Session => {
  const session = openTerminal(command, place.cwd, env)
  sessions.push(session)
  return session
}
afterAll(async () => {
  for (const session of sessions) await session.close()
  await closePlaces()
})

const flat = (lines: readonly string[]): string => lines.join(' ').replaceAll(/\s+/g, ' ')

/** The tour's questions about the estate: one server at example.com from a golden image. */
const answerEstate = async (session: Session): Promise<void> => {
  await session.until('Your domain, as Cloudflare holds it')
  session.type(`not a domain${KEYS.enter}`)
  await session.until('A domain like example.com is wanted.')
  session.type(`${'\x7f'.repeat(12)}example.com${KEYS.enter}`)
  await session.until('Where shall the servers stand?')
  session.type(KEYS.enter)
  await session.until('Which servers?')
  session.type(`${KEYS.down}${KEYS.enter}`)
  await session.until('From which image?')
  session.type(`${KEYS.down}${KEYS.enter}`)
}

interface Tour {
  readonly place: Place
  readonly session: Session
  readonly code: number | null
  readonly config: string
  readonly planned: Ended
}

/** Without tokens and without config.json; Ctrl-C at the last question. */
const rehearsalTour = async (): Promise<Tour> => {
  const place = await openPlace()
  rmSync(join(place.cwd, 'config.json'))
  const session = sit('setup', place)
  await session.until('HCLOUD_TOKEN is not set. How shall we go on?')
  session.type(KEYS.enter)
  await answerEstate(session)
  await session.until('Carry this out?')
  session.type(KEYS.ctrlC)
  const code = await session.ended
  const config = readFileSync(join(place.cwd, 'config.json'), 'utf8')
  return { place, session, code, config, planned: await place.run('provision plan --json') }
}

interface Run {
  readonly place: Place
  readonly cut: Session
  readonly cutCode: number | null
  readonly cutWriters: number
  readonly views: readonly (readonly string[])[]
  readonly done: Session
  readonly doneCode: number | null
}

/** Agreed to, interrupted in the middle, and run again to its end. */
const watchedRun = async (): Promise<Run> => {
  const place = await openPlace(ONE_SERVER)
  const command = `setup --sandbox=${place.sandbox.environment.LANDFALL_INTERNET}`
  const cut = sit(command, place)
  await cut.until('Carry this out?')
  cut.type(KEYS.enter)
  const views: (readonly string[])[] = []
  const watching = setInterval(() => views.push(cut.screen.view()), 50)
  await cut.until(/prod-dokploy runs.*\d s/)
  cut.type(KEYS.ctrlC)
  const cutCode = await cut.ended
  const cutWriters = lockIn(place.sandbox) === undefined ? 0 : 1
  const done = sit(command, place)
  const watchingDone = setInterval(() => views.push(done.screen.view()), 50)
  await done.until('Carry this out?')
  done.type(KEYS.enter)
  const doneCode = await done.ended
  clearInterval(watching)
  clearInterval(watchingDone)
  return { place, cut, cutCode, cutWriters, views, done, doneCode }
}

interface Tokens {
  readonly place: Place
  readonly session: Session
  readonly code: number | null
}

const WRONG = 'w'.repeat(64)

/** For real, as far as the second token's question. */
const realTour = async (): Promise<Tokens> => {
  const place = await openPlace(ONE_SERVER)
  const { HCLOUD_TOKEN: _, CLOUDFLARE_API_TOKEN: __, ...endpoints } = place.sandbox.environment
  const session = sit('setup', place, endpoints)
  await session.until('How shall we go on?')
  session.type(`${KEYS.down}${KEYS.enter}`)
  await session.until('make one at console.hetzner.cloud')
  for (const [token, answer] of [
    [WRONG, 'does not accept the token'],
    [SANDBOX_TOKENS.hetznerReadOnly, 'may only read'],
    [SANDBOX_TOKENS.hetzner, 'HCLOUD_TOKEN works.'],
  ] as const) {
    await session.until(/\? HCLOUD_TOKEN *$/m)
    session.type(`${token}${KEYS.enter}`)
    await session.until(answer)
  }
  await session.until('Carry this out?')
  session.type(KEYS.ctrlC)
  return { place, session, code: await session.ended }
}

let tour: Tour
let run: Run
let tokens: Tokens
beforeAll(async () => {
  ;[tour, run, tokens] = await Promise.all([rehearsalTour(), watchedRun(), realTour()])
}, 90_000)

describe('the tour without tokens and without a config.json', () => {
  test('writes a config.json that is what CI would use', () => {
    expect(JSON.parse(tour.config)).toEqual({
      hetzner: { location: 'nbg1', server_types: { prod: 'cx33', packer_build: 'cx23' }, image: 'golden' },
      dns: { domain: 'example.com', admin_subdomain: 'admin' },
    })
    expect([tour.planned.code, tour.planned.lines()[0]?.subject]).toEqual([2, 'estate example (config.json)'])
    expect(tour.planned.stdout).toContain('create server prod-dokploy (cx33, nbg1)')
  })

  test('shows the plan and its price before it asks, and says that it is a rehearsal', () => {
    const said = flat(tour.session.screen.all())
    const order = [
      'Wrote config.json.',
      'rehearsed in the sandbox',
      '+ create server prod-dokploy (cx33, nbg1)',
      'adds 6.99 EUR a month net',
      'Carry this out?',
    ]
    const places = order.map(part => said.indexOf(part))
    expect(places).toEqual(places.toSorted((a, b) => a - b))
    expect(places[0]).toBeGreaterThan(0)
  })

  test('Ctrl-C at the question ends with 130 and nothing changed', async () => {
    expect(tour.code).toBe(130)
    expect(flat(tour.session.screen.all())).toContain('Interrupted at the question "Carry this out?"')
    const files = join(tour.place.cwd, '.landfall')
    expect(existsSync(join(files, 'sandbox/example/journal.ndjson'))).toBe(false)
    const world = await startSandbox({ path: join(files, 'sandbox.sqlite') })
    const { servers, firewalls, keys, images } = world.controls.hetzner.dump(SANDBOX_PROJECT)
    const records = world.controls.cloudflare.records('example.com')
    expect([world.isNew, images.length, servers, firewalls, keys, records]).toEqual([false, 1, [], [], [], []])
    await world.close()
    expect(tour.session.screen.cursor).toBe('shown')
  })

  test('no line of it is broken by the terminal', () => {
    expect(tour.session.screen.broken).toEqual([])
  })
})

test('the tour of an estate at DigitalOcean asks for its token, tests it, and asks for none of Hetzner', async () => {
  const place = await openPlace({
    project: 'acme',
    digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
    servers: { web: { count: 1 } },
  })
  const session = sit('setup', place, {
    ...place.sandbox.environment,
    HCLOUD_TOKEN: undefined,
    DIGITALOCEAN_TOKEN: undefined,
    CLOUDFLARE_API_TOKEN: undefined,
  })
  await session.until('DIGITALOCEAN_TOKEN is not set. How shall we go on?')
  session.type(`${KEYS.down}${KEYS.enter}`)
  await session.until('make one at cloud.digitalocean.com')
  for (const [token, answer] of [
    [WRONG, 'does not accept the token'],
    [SANDBOX_TOKENS.digitalocean, 'DIGITALOCEAN_TOKEN works.'],
  ] as const) {
    await session.until(/\? DIGITALOCEAN_TOKEN *$/m)
    session.type(`${token}${KEYS.enter}`)
    await session.until(answer)
  }
  await session.until('Carry this out?')
  session.type(KEYS.ctrlC)
  expect(await session.ended).toBe(130)
  const said = flat(session.screen.all())
  expect(said).toContain('create server web')
  expect(said).not.toContain('HCLOUD_TOKEN')
}, 30_000)

describe('a run at 80×24', () => {
  test('redraws its list in place: one line per step, never wider nor higher than the screen', () => {
    expect([...run.cut.screen.broken, ...run.done.screen.broken]).toEqual([])
    const lists = run.views.filter(view => view.some(line => line.includes('server prod-dokploy exists')))
    expect(lists.length).toBeGreaterThan(20)
    for (const view of lists) {
      expect(view.length).toBeLessThanOrEqual(ROWS)
      const titles = view.filter(line => /server prod-dokploy exists/.test(line) && !/\+/.test(line))
      expect(titles.length).toBeLessThanOrEqual(1)
      for (const line of view) expect(line.length).toBeLessThanOrEqual(COLUMNS)
    }
  })

  test('Ctrl-C in the middle ends with 130, gives the estate back, says how to go on and shows the cursor', () => {
    expect([run.cutCode, run.cutWriters, run.cut.screen.cursor]).toEqual([130, 0, 'shown'])
    expect(flat(run.cut.screen.all())).toContain('run the same command again to go on from here.')
  })

  test('the same command goes on and ends with where things are and what to do next', () => {
    const said = flat(run.done.screen.all())
    expect([run.doneCode, run.done.screen.cursor]).toEqual([0, 'shown'])
    for (const part of [
      'Done.',
      'prod_ip 203.0.113.',
      'passwords bun scripts/dokploy.ts login',
      'undo bun scripts/destroy.ts',
      'next bun scripts/status.ts',
    ])
      expect(said).toContain(part)
    expect(run.place.sandbox.controls.hetzner.dump().servers).toHaveLength(1)
  })
})

describe('tokens that are typed', () => {
  test('are tested at once, where the run’s requests go, and asked for again until they work', () => {
    const said = flat(tokens.session.screen.all())
    expect(said).toContain('Hetzner does not accept the token HCLOUD_TOKEN')
    expect(said).toContain('HCLOUD_TOKEN may only read')
    expect(said).toContain('HCLOUD_TOKEN works.')
    expect([tokens.code, mutationsIn(tokens.place.sandbox.requests())]).toEqual([130, []])
  })

  test('are never shown', () => {
    for (const token of [WRONG, SANDBOX_TOKENS.hetzner, SANDBOX_TOKENS.hetznerReadOnly])
      expect(tokens.session.raw().includes(token.slice(0, 12))).toBe(false)
  })

  test('are not asked for where the estate does not need them: without names there is no Cloudflare', () => {
    expect(tokens.session.raw()).not.toContain('CLOUDFLARE_API_TOKEN')
  })
})

describe('where nobody sits', () => {
  test('no script asks: it ends at once, naming the flag that answers', async () => {
    const place = await openPlace(ONE_SERVER)
    for (const [command, flag] of [
      ['setup', '--yes'],
      ['provision apply', '--yes'],
      ['firewall', '--yes'],
      ['setup --config nowhere.json', 'examples/two-servers.json'],
    ] as const) {
      const ended = await place.run(command)
      expect([command, ended.code, mutationsIn(ended.requests)]).toEqual([command, 64, []])
      expect(flat([ended.stderr])).toContain(flag)
      expect(ended.output).not.toContain('\x1b')
    }
  }, 20_000)

  test('a terminal in CI counts as nobody', async () => {
    const place = await openPlace(ONE_SERVER)
    const session = sit('provision apply', place, { ...place.sandbox.environment, CI: 'true' })
    expect(await session.ended).toBe(64)
    expect(flat(session.screen.all())).toContain('There is no terminal to ask on')
  }, 20_000)
})

test('a wrong name at the question before a destruction is a refusal, not an interrupt', async () => {
  const place = await openPlace(ONE_SERVER)
  expect((await place.run('provision apply --yes')).code).toBe(0)
  const before = place.sandbox.requests().length
  const session = sit('destroy', place, place.sandbox.environment)
  await session.until('This destroys. Type "solo" to go on')
  session.type(`sole${KEYS.enter}`)
  expect(await session.ended).toBe(3)
  expect(flat(session.screen.all())).toContain('The name did not match. Nothing was changed.')
  expect(mutationsIn(place.sandbox.requests().slice(before))).toEqual([])
}, 40_000)
