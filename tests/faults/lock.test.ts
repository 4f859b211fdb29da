/** Two runs at once, holders that stop or vanish, clocks that are wrong, and waits that must end. */

import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { differences, lookAtWorld, type Truth } from './harness/oracle.ts'
import { type Ended, lastError, run } from './harness/product.ts'
import { openTheatre, type Theatre } from './harness/theatre.ts'
import { createWorlds } from './kill/scenarios.ts'
import { runUndisturbed } from './kill/trial.ts'
import { loseLaptop, pauseAndResume, scenarioNamed, sleepInTheMiddle } from './lock/pauses.ts'
import { runRaces } from './lock/races.ts'

setDefaultTimeout(120_000)

const worlds = createWorlds()
afterAll(() => worlds.remove())

const SETUP = scenarioNamed('setup in the empty world')
let undisturbed: Promise<Truth> | undefined
const setupTruth = (): Promise<Truth> => {
  undisturbed ??= runUndisturbed(SETUP, worlds).then(({ truth }) => truth)
  return undisturbed
}

const expectDone = async (ended: Ended, truth: Truth): Promise<void> => {
  expect(ended.exitCode === 0 ? '' : lastError(ended)).toBe('')
  expect(truth.problems).toEqual([])
  expect(differences((await setupTruth()).estate, truth.estate)).toEqual([])
}

describe('two processes that want one estate', () => {
  test('have exactly one winner in 200 races, and the loser learns in two seconds who it is', async () => {
    const report = await runRaces(200)
    expect(report.violations).toEqual([])
    expect(report.wins[0] + report.wins[1]).toBe(200)
    expect(report.slowestLoserMs).toBeLessThan(2_000)
  })

  test('have never two winners when the API fails around them', async () => {
    const report = await runRaces(25, { seed: 8, probability: 0.15 })
    expect(report.violations).toEqual([])
  })

  test('as whole runs: one sets the estate up, the other says who holds it and leaves with 3', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    try {
      const start = { command: SETUP.command, cwd: theatre.cwd, env: theatre.sandbox.environment }
      const ends = await Promise.all([run(start), run({ ...start, inside: { HOSTNAME: 'another-laptop' } })])
      const done = ends.filter(each => each.exitCode === 0)
      const refused = ends.filter(each => each.exitCode === 3)
      expect([done.length, refused.length]).toEqual([1, 1])
      expect(refused[0] && lastError(refused[0])).toMatch(
        /Another run is at work|taking or leaving the estate|no longer as it was/,
      )
      await expectDone(done[0] as Ended, lookAtWorld(theatre.sandbox))
    } finally {
      await theatre.close()
    }
  })
})

describe('a holder that is stopped, taken over and resumed', () => {
  for (const event of [
    'api hetzner POST /firewalls#2',
    'api hetzner POST /servers#1',
    'api hetzner POST /servers#2',
    'program prod-dokploy rotate-host-key#1',
    'api dokploy POST /api/auth/sign-up/email#1',
  ])
    test(`after "${event}": changes nothing any more, and says that it lost the estate`, async () => {
      const { taker, holder, writesAfterResume, truth } = await pauseAndResume(worlds, SETUP, event)
      await expectDone(taker, truth)
      expect(writesAfterResume).toEqual([])
      expect(holder.exitCode).not.toBe(0)
      expect(holder.stdout).toContain('no longer holds estate example')
    })
})

describe('a laptop that is lost with the lock', () => {
  // With a clock that is behind, nobody sees a valid certificate: see below.
  for (const shiftMs of [0, 86_400_000])
    test(`holds the estate for a minute and a half by the vendor's clock, whatever the next one's says (${shiftMs / 3_600_000} h off)`, async () => {
      const { early, late, truth } = await loseLaptop(worlds, SETUP, 'api hetzner POST /servers#2', shiftMs)
      expect(early.exitCode).toBe(3)
      expect(lastError(early)).toContain('@lost-laptop')
      expect(lastError(early)).toContain('nothing has to be deleted by hand')
      await expectDone(late, truth)
    })
})

describe('clocks', () => {
  test('a machine whose clock is a day ahead sets the estate up', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    try {
      const inside = { CLOCK_SHIFT_MS: '86400000' }
      const ended = await run({ command: SETUP.command, cwd: theatre.cwd, env: theatre.sandbox.environment, inside })
      await expectDone(ended, lookAtWorld(theatre.sandbox))
    } finally {
      await theatre.close()
    }
  })

  test('a machine whose clock is a day behind sets everything up, and says that it cannot judge the certificate and why', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    try {
      const start = { command: SETUP.command, cwd: theatre.cwd, env: theatre.sandbox.environment }
      const ended = await run({ ...start, inside: { CLOCK_SHIFT_MS: '-86400000', CLOCK_RATE: '60', SHORTEN: '1' } })
      expect(ended.exitCode).toBe(1)
      expect(lastError(ended)).toMatch(/has no trusted certificate \(not valid before .*, and this machine's clock says /)
      await expectDone(await run(start), lookAtWorld(theatre.sandbox))
    } finally {
      await theatre.close()
    }
  })

  for (const [title, ms, monotonicMs] of [
    ['eight hours of sleep that the monotonic clock does not count', 28_800_000, 0],
    ['eight hours of sleep that every clock counts', 28_800_000, 28_800_000],
    ['a clock set back by half an hour', -1_800_000, 0],
  ] as const)
    test(`${title}, in the middle of a run: it goes on, or the next run finishes`, async () => {
      const { ended, truth } = await sleepInTheMiddle(worlds, SETUP, 'api hetzner POST /servers#1', ms, monotonicMs)
      await expectDone(ended, truth)
    })
})

describe('waits that would have no end', () => {
  const waits: readonly { readonly title: string; readonly spoil: (theatre: Theatre) => void; readonly says: RegExp }[] = [
    {
      title: 'a machine that never boots',
      spoil: ({ sandbox }) => sandbox.controls.machines.neverBoots('prod-dokploy'),
      says: /prod-dokploy was not ready for SSH within \d+ s/,
    },
    {
      title: 'a Dokploy that never becomes healthy',
      spoil: ({ sandbox }) => sandbox.controls.machines.killDokploy('prod-dokploy'),
      says: /Dokploy on prod-dokploy did not become healthy within 5 minutes/,
    },
    {
      title: 'cloud-init that never ends',
      spoil: ({ sandbox }) => sandbox.controls.machines.cloudInitLate('prod-dokploy', 1e12),
      says: /cloud-init on prod-dokploy did not finish within \d+ minutes/,
    },
    {
      title: 'an action of the cloud that never ends',
      spoil: ({ sandbox }) => {
        sandbox.settings.actionMs = { create_server: 1e9, other: 5 }
      },
      says: /after \d+ min Hetzner still works on create_server/,
    },
  ]
  for (const { title, spoil, says } of waits)
    test(`${title}: the run ends by itself, naming what it waited for`, async () => {
      const theatre = await openTheatre({ from: await worlds.folder('empty') })
      try {
        spoil(theatre)
        const inside = { CLOCK_RATE: '300', SHORTEN: '1' }
        const ended = await run({ command: SETUP.command, cwd: theatre.cwd, env: theatre.sandbox.environment, inside })
        expect(ended.late).toBe(false)
        expect(ended.exitCode).toBe(1)
        expect(ended.stdout).toMatch(says)
      } finally {
        await theatre.close()
      }
    })
})
