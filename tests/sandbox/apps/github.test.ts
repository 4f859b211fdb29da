/** Webhooks at GitHub: made once, mended when somebody changed them, and never a stranger's. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createMeter } from '../../../lib/engine/meter.ts'
import { hasCode } from '../../../lib/errors.ts'
import type { ProviderContext } from '../../../lib/providers/context.ts'
import { createGitHub } from '../../../lib/providers/github/github.ts'
import type { GitHub } from '../../../lib/providers/ports/github.ts'
import { createVercel } from '../../../lib/providers/vercel/vercel.ts'
import { SANDBOX_TOKENS, type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { Secret } from '../../../lib/secret.ts'

const REPOSITORY = { owner: 'acme', name: 'shop' }
const hook = (path: string) => ({
  url: new Secret('u', `https://admin.example.com/api/deploy/${path}`),
  secret: new Secret('s', 'webhook-secret'),
})

let sandbox: Sandbox
let github: GitHub
const context = (): ProviderContext => ({
  clock: { nowMs: () => Date.now(), monotonicMs: () => performance.now(), sleep: async () => undefined },
  meter: createMeter(),
  signal: new AbortController().signal,
  random: () => 0,
  log: () => undefined,
  beforeWrite: async () => undefined,
})
beforeAll(async () => {
  sandbox = await startSandbox()
  sandbox.controls.github.addToken({ value: 'reader', right: 'read' })
  sandbox.controls.github.addToken({ value: 'nobody', right: 'none' })
  sandbox.controls.github.addRepository('acme/shop')
  github = createGitHub({
    token: new Secret('t', SANDBOX_TOKENS.github),
    endpoint: sandbox.environment.GITHUB_API_URL ?? '',
    context: context(),
  })
})
afterAll(() => sandbox.close())

describe('a webhook', () => {
  test('is signed, sends JSON and checks certificates; its secret is not shown again', async () => {
    await github.createHook(REPOSITORY, hook('one'))
    const [made] = await github.listHooks(REPOSITORY)
    expect(made).toMatchObject({ active: true, signed: true, insecure: false, contentType: 'json', events: ['push'] })
    expect(JSON.stringify(await github.listHooks(REPOSITORY))).not.toContain('api/deploy')
    expect(sandbox.controls.github.hooks('acme/shop')[0]?.secret).toBe('webhook-secret')
  })

  test('whose answer was lost is there once', async () => {
    sandbox.settings.faults = [{ vendor: 'github', method: 'POST', path: '/hooks$', nth: [1], effect: { kind: 'lost_answer' } }]
    await github.createHook(REPOSITORY, hook('two'))
    sandbox.settings.faults = []
    expect(sandbox.controls.github.hooks('acme/shop').filter(each => each.url.endsWith('/two'))).toHaveLength(1)
  })

  test('is mended with its secret: a change of the address alone would drop it', async () => {
    const [made] = await github.listHooks(REPOSITORY)
    await github.setHook(REPOSITORY, made?.id ?? 0, hook('three'))
    expect(sandbox.controls.github.hooks('acme/shop')[0]).toMatchObject({ secret: 'webhook-secret', contentType: 'json' })
  })

  test('that is gone already counts as deleted', async () => {
    await github.deleteHook(REPOSITORY, 999_999)
    expect(await github.listHooks(REPOSITORY)).toHaveLength(2)
  })

  test('more than a page of them are all seen', async () => {
    for (let n = 0; n < 18; n++) await github.createHook(REPOSITORY, hook(`more-${n}`))
    expect(await github.listHooks(REPOSITORY)).toHaveLength(20)
    let error: unknown
    try {
      await github.createHook(REPOSITORY, hook('too-many'))
    } catch (caught) {
      error = caught
    }
    expect(error instanceof Error && error.message.includes('422')).toBe(true)
  })

  test.each([
    ['an unknown token', 'wrong', 'token_invalid'],
    ['a token that may only read', 'reader', 'not_found'],
    ['a token that sees nothing', 'nobody', 'not_found'],
  ] as const)('%s is told what is missing', async (_name, token, code) => {
    const other = createGitHub({
      token: new Secret('t', token),
      endpoint: sandbox.environment.GITHUB_API_URL ?? '',
      context: context(),
    })
    let error: unknown
    try {
      await other.listHooks(REPOSITORY)
    } catch (caught) {
      error = caught
    }
    if (!hasCode(error, code)) throw new Error(`not ${code}: ${String(error)}`)
    expect(error.hint).toContain('Webhooks')
  })

  test('a token is never sent in clear across the network', () => {
    expect(() =>
      createGitHub({ token: new Secret('t', 'x'), endpoint: 'http://github.example.com', context: context() }),
    ).toThrow('in clear')
  })
})

describe('Vercel', () => {
  test('gives encrypted values one by one, sensitive ones to nobody, and every page', async () => {
    sandbox.controls.vercel.addProject({
      name: 'big',
      framework: null,
      rootDirectory: null,
      domains: [{ name: 'a.example.org' }, { name: 'b.example.org', redirect: 'a.example.org' }],
      variables: [
        ...Array.from({ length: 130 }, (_, n) => ({
          key: `P${n}`,
          value: String(n),
          type: 'plain' as const,
          target: ['production'],
        })),
        { key: 'CLOSED', value: 'opened', type: 'encrypted', target: ['production'] },
        { key: 'SENSITIVE', value: 'x', type: 'sensitive', target: ['production'] },
        { key: 'BLANK', value: '', type: 'plain', target: ['production'] },
        { key: 'VERCEL_URL', value: 'x', type: 'system', target: ['production'] },
      ],
    })
    const vercel = createVercel({
      token: new Secret('t', SANDBOX_TOKENS.vercel),
      endpoint: sandbox.environment.VERCEL_ENDPOINT ?? '',
      context: context(),
    })
    const project = (await vercel.listProjects()).find(each => each.name === 'big')
    const variables = await vercel.listVariables(project?.id ?? '')
    const known = variables.flatMap(each => (each.state === 'known' ? [[each.name, each.value.reveal()]] : []))
    expect(known).toHaveLength(131)
    expect(Object.fromEntries(known)).toMatchObject({ P0: '0', P129: '129', CLOSED: 'opened' })
    expect(variables.flatMap(each => (each.state === 'blank' ? [[each.name, each.why]] : []))).toEqual([
      ['SENSITIVE', 'sensitive'],
      ['BLANK', 'empty'],
    ])
    expect(await vercel.listDomains(project?.id ?? '')).toMatchObject([{ name: 'a.example.org' }, { redirect: 'a.example.org' }])
  })
})
