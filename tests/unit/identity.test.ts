/** Whose project a token belongs to, as far as DNS and what waits there can tell. */

import { expect, test } from 'bun:test'
import { findForeignProject } from '../../lib/identity.ts'
import type { EstateWorld } from '../../lib/steps/world.ts'
import { address, ours, record, server } from './steps/worlds.ts'

type Slices = Partial<EstateWorld>

const lookAt = (slices: Slices) =>
  findForeignProject('nextnode', {
    has: slice => slice in slices,
    get: <K extends keyof EstateWorld>(slice: K) => slices[slice] as EstateWorld[K],
  })

const records = [record('admin.nextnode.fr', '203.0.113.2')]
const kept = (ip: string, estate = 'nextnode') =>
  address('1', 'prod-dokploy', { ip, labels: { ...address('1', 'prod-dokploy').labels, 'landfall/estate': estate } })

test('a name that leads to a server that this project does not have says so', () => {
  expect(lookAt({ records, servers: [], primaryIps: [] })).toEqual({
    why:
      'This token sees no server of estate nextnode, yet admin.nextnode.fr points at its server prod-dokploy (id 2, 203.0.113.2): ' +
      'it seems to be the token of another project.',
    servers: ['prod-dokploy'],
  })
})

test.each<readonly [string, Slices]>([
  ['a server of the estate stands', { records, servers: [server('dev-dokploy', { labels: ours })] }],
  ['the address waits here for its server', { records, servers: [], primaryIps: [kept('203.0.113.2')] }],
  ['nobody’s record is ours', { records: [record('a.nextnode.fr', '203.0.113.2', { comment: '' })], servers: [] }],
  ['the names were not looked at', { servers: [] }],
])('nothing is said where %s', (_, slices) => expect(lookAt(slices)).toBeUndefined())

test.each([
  ['another address that waits', kept('203.0.113.9')],
  ['another estate’s address', kept('203.0.113.2', 'nextnode2')],
  ['an address that goes with its server', { ...kept('203.0.113.2'), deletedWithServer: true }],
])('%s proves nothing', (_, ip) => expect(lookAt({ records, servers: [], primaryIps: [ip] })?.servers).toEqual(['prod-dokploy']))
