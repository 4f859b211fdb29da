/** Names that lead to a server that goes: moved first where the plan moves them, refused where another command does. */

import { expect, test } from 'bun:test'
import { labelsFor } from '../../../lib/estate/labels.ts'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import { surplusStep } from '../../../lib/steps/surplus.ts'
import { KEY, load } from '../estate/configs.ts'
import { deps as base, lookAt, record, say, server } from './worlds.ts'

const estate = load(
  {
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    dns: { domain: 'example.com', admin_subdomain: 'panel' },
    dokploy: { admin_email: 'admin@example.com' },
    servers: { web: { type: 'cx33', count: 2 }, panel: { type: 'cx33', dokploy: true } },
  },
  [],
  [{ name: 'alice', publicKey: KEY }],
)
const [host = ''] = estate.dns?.records.map(each => each.name) ?? []
const comment = renderRecordMark({ estate: 'acme', server: 'web-3', serverId: 'web-3' })
const member = (name: string, ipv4: string) =>
  server(name, { id: name, type: 'cx33', labels: labelsFor('acme', 'web', 'run-0'), ipv4 })
const servers = [member('web-1', '203.0.113.1'), member('web-2', '203.0.113.2'), member('web-3', '203.0.113.3')]
const look = (records: ReturnType<typeof record>[], movers: readonly string[] = [], given = estate) =>
  lookAt(surplusStep({ ...base, estate: given }, [], movers), { servers, records })

test('one that the plan moves is waited for', () => {
  expect(host).not.toBe('')
  const records = [record(host, '203.0.113.3', { comment })]
  expect(say(look(records, [host]))).toBe(`blocked dns ${host} | destroy delete server web-3, which config.json no longer wants`)
  expect(look(records)).toEqual({
    state: 'refused',
    why: `${host} still leads to web-3, which config.json no longer wants.`,
    hint: 'bun scripts/dns.ts apply',
  })
})

test('an alias, and a record that leads to a server that stays, keep nothing', () => {
  const records = [record(host, '203.0.113.1', { comment }), record('a.example.com', host, { type: 'CNAME', comment: '' })]
  expect(say(look(records))).toBe('todo destroy delete server web-3, which config.json no longer wants')
})

test('an estate without names asks nobody about them', () => {
  const { dns: _, ...nameless } = estate
  const step = surplusStep({ ...base, estate: nameless, readsNames: false })
  expect(step.reads).not.toContain('records')
  expect(say(lookAt(step, { servers }))).toBe('todo destroy delete server web-3, which config.json no longer wants')
})
