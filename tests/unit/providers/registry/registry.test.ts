/** A registry that gives out tokens elsewhere, as the large ones do: where the password goes, and what each answer means. */

import { afterAll, beforeEach, expect, test } from 'bun:test'
import { systemClock } from '../../../../lib/engine/clock.ts'
import { createMeter } from '../../../../lib/engine/meter.ts'
import { LandfallError } from '../../../../lib/errors.ts'
import { createRegistry } from '../../../../lib/providers/registry/registry.ts'
import { Secret } from '../../../../lib/secret.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`
const BASIC = `Basic ${btoa('ci:a-password')}`

let realm: string | undefined
let seen: string[] = []
/** Headers by path. */
const answers = new Map<string, Record<string, string>>()

const server: Bun.Server<undefined> = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request) {
    const { pathname, search } = new URL(request.url)
    const authorization = request.headers.get('authorization') ?? ''
    seen.push(`${request.method} ${pathname}${search} ${authorization}`)
    if (pathname === '/token')
      return authorization === BASIC ? Response.json({ token: 'a-token' }) : new Response('', { status: 401 })
    if (authorization !== 'Bearer a-token')
      return new Response('', {
        status: 401,
        headers: { 'www-authenticate': `Bearer realm="${realm ?? ownRealm()}",service="registry.example.com"` },
      })
    const headers = answers.get(pathname)
    return headers ? new Response('', { headers }) : new Response('', { status: 404 })
  },
})
const ownRealm = (): string => `${server.url}token`
afterAll(() => server.stop(true))
beforeEach(() => {
  realm = undefined
  seen = []
  answers.clear()
})

const host = `127.0.0.1:${server.port}`
const registry = (password = 'a-password') =>
  createRegistry(
    { url: host, username: 'ci', password: new Secret('REGISTRY_PASSWORD', password) },
    {
      clock: systemClock,
      meter: createMeter(),
      signal: new AbortController().signal,
      random: Math.random,
      log: () => undefined,
      beforeWrite: async () => undefined,
    },
  )
const failureOf = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  )
  if (!(error instanceof LandfallError)) throw new Error('it did not fail as it should')
  return { code: error.code, says: error.message }
}

test('a digest is asked for with a token, which may pull that one repository', async () => {
  answers.set('/v2/acme/web/manifests/landfall-1', { 'docker-content-digest': DIGEST })
  expect(await registry().findDigest(`${host}/acme/web:landfall-1`)).toBe(DIGEST)
  expect(seen).toEqual([
    `HEAD /v2/acme/web/manifests/landfall-1 ${BASIC}`,
    `GET /token?service=registry.example.com&scope=repository%3Aacme%2Fweb%3Apull ${BASIC}`,
    'HEAD /v2/acme/web/manifests/landfall-1 Bearer a-token',
  ])
})

test('what is not there is nothing, and an answer without a digest is the vendor’s fault', async () => {
  expect(await registry().findDigest(`${host}/acme/web:landfall-2`)).toBeUndefined()
  answers.set('/v2/acme/web/manifests/landfall-3', {})
  expect(await failureOf(registry().findDigest(`${host}/acme/web:landfall-3`))).toEqual({
    code: 'vendor',
    says: `The registry ${host} named no digest for acme/web:landfall-3.`,
  })
})

test('a wrong password is said without it', async () => {
  expect(await failureOf(registry('guessed').findDigest(`${host}/acme/web:landfall-1`))).toEqual({
    code: 'token_invalid',
    says: `The registry ${host} answered ci with status 401.`,
  })
})

test('the password goes to no address that is none', async () => {
  realm = 'not an address'
  expect(await failureOf(registry().findDigest(`${host}/acme/web:landfall-1`))).toMatchObject({ code: 'vendor' })
  expect(seen).toHaveLength(1)
})
