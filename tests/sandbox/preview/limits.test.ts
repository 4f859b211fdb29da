/** GitHub's hourly limit, which is told in headers of its own and is no missing right. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { createMeter } from '../../../lib/engine/meter.ts'
import { hasCode, type LandfallError } from '../../../lib/errors.ts'
import { createPullRequests } from '../../../lib/providers/github/pulls.ts'
import { createVercel } from '../../../lib/providers/vercel/vercel.ts'
import { SANDBOX_TOKENS, type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { Secret } from '../../../lib/secret.ts'
import { closePlaces } from '../scripts/run.ts'
import { openScene, REPOSITORY } from './rig.ts'

const [OWNER = '', NAME = ''] = REPOSITORY.split('/')
const repository = { owner: OWNER, name: NAME }
const HOUR_MS = 3_600_000

let sandbox: Sandbox
/** Ahead of the machine's clock: the sandbox's and the adapter's. */
let aheadMs = 0
const clock = { nowMs: () => Date.now() + aheadMs }
beforeAll(async () => {
  sandbox = await startSandbox({ clock })
  sandbox.controls.github.addRepository(REPOSITORY)
})
afterAll(async () => {
  await sandbox.close()
  await closePlaces()
})

const adapterOf = (token: string) => {
  const waits: number[] = []
  const context = {
    clock: {
      ...clock,
      monotonicMs: () => performance.now(),
      async sleep(ms: number) {
        waits.push(ms)
        aheadMs += ms
      },
    },
    meter: createMeter(),
    signal: new AbortController().signal,
    random: () => 0,
    log: () => undefined,
    beforeWrite: async () => undefined,
  }
  const endpoint = sandbox.environment.GITHUB_API_URL ?? ''
  return { github: createPullRequests({ token: new Secret('t', token), endpoint, context }), waits, context }
}

const failure = async (work: Promise<unknown>): Promise<LandfallError> => {
  try {
    await work
  } catch (error) {
    if (hasCode(error, 'limit', 'rate_limited', 'forbidden')) return error
    throw error
  }
  throw new Error('it did not fail')
}

test('used up, it is told as what it is, with the moment at which it begins anew, and is not asked again before', async () => {
  sandbox.controls.github.addToken({ value: 'two an hour', right: 'write', login: 'octocat', hourly: 2 })
  sandbox.controls.github.setPull(REPOSITORY, 12)
  const { github, waits } = adapterOf('two an hour')
  const firstMs = clock.nowMs()
  await github.listPulls(repository)
  // Unchanged answers count for nothing.
  for (let n = 0; n < 5; n++) await github.listPulls(repository)
  expect(await github.readSelf()).toBe('octocat')
  const from = sandbox.requests().length
  for (const work of [github.listComments(repository, 12), github.readSelf(), github.createComment(repository, 12, 'x')]) {
    const error = await failure(work)
    expect({ code: error.code, status: error.status, says: error.message }).toEqual({
      code: 'limit',
      status: 403,
      says: expect.stringContaining('API rate limit exceeded'),
    })
    const [, day = '', minute = ''] = /again after (\S+) (\S+) UTC\.$/.exec(error.hint ?? '') ?? []
    const freeMs = Date.parse(`${day}T${minute}:00Z`)
    expect(freeMs).toBeGreaterThanOrEqual(firstMs + HOUR_MS)
    expect(freeMs).toBeLessThan(clock.nowMs() + HOUR_MS + 60_000)
  }
  expect(waits).toEqual([])
  expect(sandbox.requests().length - from).toBe(3)
  expect(sandbox.controls.github.comments(REPOSITORY, 12)).toEqual([])
})

test('about to begin anew, it is waited for; by reads and by a comment, which is then there once', async () => {
  sandbox.controls.github.addToken({ value: 'one an hour', right: 'write', login: 'octocat', hourly: 1 })
  sandbox.controls.github.setPull(REPOSITORY, 13)
  const { github, waits } = adapterOf('one an hour')
  await github.listPulls(repository)
  aheadMs += HOUR_MS - 20_000
  await github.listComments(repository, 13)
  expect(waits.length).toBe(1)
  expect(waits[0]).toBeGreaterThan(15_000)
  expect(waits[0]).toBeLessThanOrEqual(21_000)
  aheadMs += HOUR_MS - 20_000
  await github.createComment(repository, 13, 'once')
  expect(waits.length).toBe(2)
  expect(waits[1]).toBeGreaterThan(15_000)
  expect(sandbox.controls.github.comments(REPOSITORY, 13).map(each => each.body)).toEqual(['once'])
})

test('a right that is missing is no limit, and other vendors’ headers of that name mean what they meant', async () => {
  sandbox.controls.github.addToken({ value: 'reader', right: 'read', login: 'reader' })
  expect(await failure(adapterOf('reader').github.createComment(repository, 12, 'x'))).toMatchObject({ code: 'forbidden' })
  const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '4102444800' }
  sandbox.settings.faults = [{ vendor: 'vercel', nth: [1], effect: { kind: 'status', status: 403, json: {}, headers } }]
  const { context } = adapterOf('reader')
  const vercel = createVercel({
    token: new Secret('t', SANDBOX_TOKENS.vercel),
    endpoint: sandbox.environment.VERCEL_ENDPOINT ?? '',
    context,
  })
  expect(await failure(vercel.listProjects())).toMatchObject({ code: 'forbidden' })
  sandbox.settings.faults = []
})

test('an event that meets it says so, and writes nothing', async () => {
  const scene = await openScene('shared')
  scene.github.addToken({ value: 'two an hour', right: 'write', hourly: 2 })
  scene.github.setPull(REPOSITORY, 12)
  const before = scene.sandbox.requests().length
  const ended = await scene.run('preview event --json', { env: { GITHUB_TOKEN: 'two an hour' }, timeoutMs: 60_000 })
  expect(ended.code).toBe(1)
  expect(ended.errors()[0]).toMatchObject({ code: 'limit', hint: expect.stringMatching(/again after .* UTC/) })
  expect(scene.writes(before)).toEqual([])
}, 60_000)
