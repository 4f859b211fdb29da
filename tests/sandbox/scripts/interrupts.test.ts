/** Runs that end in the middle: by Ctrl-C, by a kill, by another run. Whatever was half done, the same command finishes it. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import {
  closePlaces,
  type Ended,
  filesBelow,
  lockIn,
  mutationsIn,
  ONE_SERVER,
  openPlace,
  type Place,
  type Running,
  waitFor,
} from './run.ts'
import { createWatch, exposedInstants } from './watch.ts'

const SETUP = 'setup --yes'

/** One story: how a run is cut short, and what the runs after it say. */
interface Story {
  readonly place: Place
  readonly cut: Ended
  /** The lock as the cut run left it. */
  readonly lockLeft: boolean
  readonly planned: Ended
  readonly filesSame: boolean
  readonly status: Ended
  readonly again: Ended
  readonly third: Ended
}

const watch = createWatch()

const tell = async (
  cut: (running: Running, place: Place) => Promise<void>,
  arrange: (place: Place) => void = () => undefined,
): Promise<Story> => {
  const place = await openPlace(ONE_SERVER, { hooks: watch.hooks })
  arrange(place)
  const running = place.start(SETUP)
  await cut(running, place)
  const ended = await running.ended
  const lockLeft = lockIn(place.sandbox) !== undefined
  place.sandbox.settings.faults = []
  const files = traces(place)
  const planned = await place.run('setup --plan')
  const filesSame = traces(place) === files
  const status = await place.run('status')
  const again = await place.run(SETUP)
  const third = await place.run(SETUP)
  return { place, cut: ended, lockLeft, planned, filesSame, status, again, third }
}

/** Pins are left out: they are copied from the servers' labels whenever one is about to be talked to. */
const traces = ({ cwd }: Place): string =>
  JSON.stringify(Object.entries(filesBelow(join(cwd, '.landfall'))).filter(([name]) => !/known_hosts|ctl/.test(name)))

/** Waits for the moment at which a run is to be cut short. @throws with what it said, when it ends before or never gets there */
const cutAt = async (running: Running, what: string, holds: () => boolean): Promise<void> => {
  let hasEnded = false
  const note = () => {
    hasEnded = true
  }
  running.ended.then(note, note)
  await waitFor(what, () => holds() || hasEnded, 60_000)
  if (!holds()) throw new Error(`the run ended before ${what}:\n${running.stdout()}\n${running.stderr()}`)
}

const serverExists = ({ sandbox }: Place): boolean => sandbox.controls.hetzner.dump().servers.length > 0
const isSent = ({ sandbox }: Place, method: string, path: string): boolean =>
  sandbox.requests().some(request => request.method === method && request.path === path)

/** Requests that are held for so long that a run stays in the middle of them. */
const HELD_MS = 4_000
/** The log knows a request when it is answered; until then it would be counted among those of the next run. */
const heldIsOver = (place: Place) => waitFor('the held request is over', () => isSent(place, 'POST', '/servers'))

/** From the second Ctrl-C to the end of the process. */
let secondSignalMs = Number.POSITIVE_INFINITY
const holdCreates = ({ sandbox }: Place) => {
  sandbox.settings.faults = [{ vendor: 'hetzner', method: 'POST', path: '^/servers$', effect: { kind: 'slow', ms: HELD_MS } }]
}

const STORIES = {
  'Ctrl-C while a server starts': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the server is created', () => serverExists(place))
      await Bun.sleep(200)
      running.kill('SIGINT')
    }),
  'SIGTERM while a server starts': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the server is created', () => serverExists(place))
      await Bun.sleep(200)
      running.kill('SIGTERM')
    }),
  'Ctrl-C twice while a call hangs': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the server is created', () => serverExists(place))
      running.kill('SIGINT')
      await cutAt(running, 'it has answered the first', () => running.stderr().includes('Press Ctrl-C again'))
      const sentMs = performance.now()
      running.kill('SIGINT')
      await running.ended
      secondSignalMs = performance.now() - sentMs
      await heldIsOver(place)
    }, holdCreates),
  'kill -9 while a server starts': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the server is created', () => serverExists(place))
      await Bun.sleep(200)
      running.kill('SIGKILL')
    }),
  'kill -9 before the answer to a create': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the server is created', () => serverExists(place))
      running.kill('SIGKILL')
      await heldIsOver(place)
    }, holdCreates),
  'kill -9 after the first admin signed up': () =>
    tell(async (running, place) => {
      await cutAt(running, 'the admin exists', () => isSent(place, 'POST', '/api/auth/sign-up/email'))
      running.kill('SIGKILL')
    }),
} as const satisfies Record<string, () => Promise<Story>>

const stories = new Map<string, Story>()
const story = (name: keyof typeof STORIES): Story => {
  const told = stories.get(name)
  if (!told) throw new Error(`"${name}" was not told`)
  return told
}

interface Race {
  readonly place: Place
  readonly runs: readonly Ended[]
}
let late: Race
let even: Race

/** Alone on this machine until the second has ended: its time counts. */
const raceLate = async (): Promise<() => Promise<Race>> => {
  const place = await openPlace(ONE_SERVER)
  const first = place.start(SETUP)
  await waitFor('the first holds the estate', () => lockIn(place.sandbox) !== undefined)
  const second = await place.run('firewall --yes', { env: { USER: 'bob' } })
  return async () => ({ place, runs: [await first.ended, second] })
}

/** Neither gets on before both have looked at a world in which everything is still to be done. */
const raceEven = async (): Promise<Race> => {
  let looking = 0
  const beforeEffect = async ({ path }: { readonly path: string }) => {
    if (path !== '/pricing') return
    looking++
    await waitFor('both look', () => looking >= 2)
  }
  const place = await openPlace(ONE_SERVER, { hooks: { beforeEffect } })
  return { place, runs: await Promise.all([place.run('provision apply --yes'), place.run('provision apply --yes')]) }
}

beforeAll(async () => {
  const lateEnds = await raceLate()
  const untold = Object.entries(STORIES)
  // A few at a time: a run that waits for a processor takes a machine for silent.
  const tellOn = async () => {
    for (let next = untold.shift(); next !== undefined; next = untold.shift()) stories.set(next[0], await next[1]())
  }
  ;[late, even] = await Promise.all([lateEnds(), raceEven(), tellOn(), tellOn(), tellOn()])
}, 180_000)
afterAll(closePlaces)

const flat = (text: string): string => text.replaceAll(/\s+/g, ' ')

describe.each(Object.keys(STORIES) as (keyof typeof STORIES)[])('%s', name => {
  test('a look at what is left writes nothing and leaves journal and keys alone', () => {
    const { planned, filesSame } = story(name)
    expect([planned.code, mutationsIn(planned.requests), filesSame]).toEqual([2, [], true])
  })

  test('the same command finishes what is there, without anything twice', () => {
    const { place, again } = story(name)
    expect([again.code, again.stderr.includes('✗')]).toEqual([0, false])
    const { servers, firewalls, keys } = place.sandbox.controls.hetzner.dump()
    expect([servers.map(server => server.name), firewalls.map(each => each.name).sort(), keys.length]).toEqual([
      ['prod-dokploy'],
      ['solo-admin', 'solo-dokploy'],
      1,
    ])
    expect(place.sandbox.controls.machines.dokploy('prod-dokploy').dump()).toMatchObject({ admins: ['admin@example.com'] })
    expect(lockIn(place.sandbox)).toBeUndefined()
  })

  test('and once more changes nothing', () => {
    const { third } = story(name)
    expect([third.code, mutationsIn(third.requests)]).toEqual([0, []])
    expect(third.stderr).toBe('')
  })

  test('no stranger ever reached what nobody should', () => {
    expect(exposedInstants(story(name).place.sandbox, ['prod-dokploy'])).toEqual([])
  })
})

describe('Ctrl-C', () => {
  test.each(['Ctrl-C while a server starts', 'SIGTERM while a server starts'] as const)(
    '%s: ends with 130, gives the estate back and says how to go on',
    name => {
      const { cut, lockLeft } = story(name)
      expect([cut.code, lockLeft]).toEqual([130, false])
      expect(flat(cut.stderr)).toContain('Interrupted: letting the current calls end. Press Ctrl-C again to stop at once.')
      expect(flat(cut.stderr)).toContain('What was done stays; run the same command again to go on from here.')
      expect(cut.stdout).toContain('Not finished.')
      expect(cut.output).not.toMatch(/✗|bug/)
    },
  )

  test('a second one does not wait for the call that hangs', () => {
    const { cut, lockLeft, again } = story('Ctrl-C twice while a call hangs')
    expect([cut.code, lockLeft]).toEqual([130, true])
    expect(secondSignalMs).toBeLessThan(HELD_MS / 2)
    expect(flat(again.stderr)).toContain('Took over from the run of')
  })
})

describe('kill -9', () => {
  test('the next run takes over from the dead one, in words', () => {
    const { cut, lockLeft, again } = story('kill -9 while a server starts')
    expect([cut.code, lockLeft]).toEqual([null, true])
    expect(flat(again.stderr)).toMatch(/Took over from the run of \S+@\S+, which is gone\./)
  })

  test('status says what was cut short', () => {
    const { status } = story('kill -9 before the answer to a create')
    expect(flat(status.output)).toContain(
      'An earlier run was cut short while it was to "create server prod-dokploy (cx33, nbg1)"',
    )
  })

  test('a password that was made and used stays the password', () => {
    const { place } = story('kill -9 after the first admin signed up')
    const signUps = place.sandbox
      .requests()
      .filter(request => request.path === '/api/auth/sign-up/email' && request.status === 200)
    expect(signUps).toHaveLength(1)
  })
})

describe('two runs at once', () => {
  test('the second names the holder within 2 s and changes nothing', () => {
    const [first, second] = late.runs
    expect([first?.code, second?.code]).toEqual([0, 3])
    expect(second?.elapsedMs).toBeLessThan(2_000)
    expect(flat(second?.stderr ?? '')).toMatch(
      /Another run is at work: \S+@\S+ \(process \d+\), who has held estate solo for \d+ s with "bun scripts\/setup\.ts"/,
    )
  })

  test('of two that start in the same moment, one goes on', () => {
    const codes = even.runs.map(run => run.code).toSorted()
    expect(codes).toEqual([0, 3])
    const creates = even.place.sandbox.requests().filter(request => request.method === 'POST' && request.path === '/servers')
    expect(creates).toHaveLength(1)
    expect(lockIn(even.place.sandbox)).toBeUndefined()
  })
})

test('a run whose API cannot be reached ends with its error: nobody waits on for the other lists', async () => {
  const place = await openPlace(ONE_SERVER)
  const ended = await place.run('provision plan --json', {
    env: { HCLOUD_ENDPOINT: 'http://127.0.0.1:9/v1' },
    timeoutMs: 100_000,
  })
  expect({ code: ended.code, requests: ended.requests.filter(({ vendor }) => vendor === 'hetzner') }).toEqual({
    code: 1,
    requests: [],
  })
  const types = ended.lines().map(each => each.type)
  expect(types.filter(each => each === 'log').length).toBeLessThan(10)
  expect(types.slice(types.indexOf('error'))).toEqual(['error'])
}, 120_000)
