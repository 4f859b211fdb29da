/** Every call that the Dokploy adapter makes, against the vendor's published document, while it works with the stand-in. */

import { describe, expect, test } from 'bun:test'
import { createDokploy } from '../../lib/providers/dokploy/dokploy.ts'
import { createDokployStandIn } from '../../lib/sandbox/dokploy/standin.ts'
import { openStore } from '../../lib/sandbox/store.ts'
import { Secret } from '../../lib/secret.ts'
import { createTestContext } from '../unit/providers/dokploy/fake-panel.ts'
import { loadSpec } from './spec.ts'

const DOCUMENT = 'dokploy.openapi.json'

interface Call {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: unknown
  readonly contentType: string | null
}

/** Takes a fresh panel through everything that the port offers. */
async function rehearse(): Promise<{ calls: Call[]; traefikMail: string }> {
  const store = openStore(':memory:')
  const context = createTestContext()
  const standIn = createDokployStandIn({ store, clock: context.clock, serverId: 'prod', version: 'v0.30.2' })
  const calls: Call[] = []
  const dokploy = createDokploy({
    baseUrl: 'http://127.0.0.1:3000',
    context,
    fetch: async (address, init) => {
      const url = new URL(address)
      const headers = new Headers(init.headers)
      const method = init.method ?? 'GET'
      const bodyText = typeof init.body === 'string' ? init.body : ''
      calls.push({
        method,
        path: url.pathname,
        query: url.searchParams,
        body: bodyText === '' ? undefined : JSON.parse(bodyText),
        contentType: headers.get('content-type'),
      })
      const answer = await standIn.handle({
        method,
        path: url.pathname,
        query: url.searchParams,
        headers,
        bodyText,
        atMs: context.clock.nowMs(),
      })
      const text = answer.json === undefined ? (answer.text ?? '') : JSON.stringify(answer.json)
      return new Response(text === '' ? null : text, { status: answer.status, headers: { ...answer.headers } })
    },
  })
  const admin = { email: 'ops@example.com', password: new Secret('DOKPLOY_PASSWORD', 'a-long-password'), keyName: 'landfall' }
  expect(await dokploy.health()).toBe('up')
  const first = await dokploy.claim(admin)
  const { apiKey } = await dokploy.claim(admin)
  expect(await dokploy.checkKey(first.apiKey)).toBe('invalid')
  // More calls than a key with the default rate limit would allow in a day.
  for (let i = 0; i < 12; i++) expect(await dokploy.checkKey(apiKey)).toBe('valid')
  expect(await dokploy.version(apiKey)).toBe('v0.30.2')
  await dokploy.setServerIp(apiKey, '192.0.2.7')
  await dokploy.assignPanelHost(apiKey, { host: 'panel.example.com', letsEncryptEmail: 'ops@example.com' })
  expect(await dokploy.readPanel(apiKey)).toEqual({
    host: 'panel.example.com',
    https: true,
    letsEncryptEmail: 'ops@example.com',
    serverIp: '192.0.2.7',
  })
  const traefikMail = standIn.control.traefik().loadedMain
  store.close()
  return { calls, traefikMail }
}

describe('calls to Dokploy', () => {
  test('a fresh panel is claimed, named and reloaded by the rules that the real one has', async () => {
    const { traefikMail } = await rehearse()
    expect(traefikMail).toContain('ops@example.com')
  })

  const spec = loadSpec(DOCUMENT)
  // Without the document there is nothing to compare with; in CI that is a failure.
  test.skipIf(spec === undefined && !process.env.CI)(`each fits ${DOCUMENT}`, async () => {
    const { calls } = await rehearse()
    const documented = calls.filter(call => /^\/api\/[a-z]+\.[a-z]+$/i.test(call.path))
    const problems = documented.flatMap(
      call => spec?.validateRequest(call.method, call.path.replace('/api', ''), call.query, call.body) ?? ['no document'],
    )
    expect(problems).toEqual([])
    expect(new Set(documented.map(call => call.path)).size).toBeGreaterThanOrEqual(8)
    for (const call of calls.filter(each => each.method === 'POST')) expect(call.contentType).toBe('application/json')
  })
})
