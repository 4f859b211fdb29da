/** What a server will cost is known before it can be made: the cap holds for one that waits for its image, too. */

import { expect, test } from 'bun:test'
import { makePlan } from '../../../lib/engine/plan.ts'
import { serverStep } from '../../../lib/steps/server.ts'
import { KEY, load, twoServers } from '../estate/configs.ts'
import { deps as base, golden, lookAt, say, serverType } from './worlds.ts'

const estate = load(twoServers, [], [{ name: 'alice', publicKey: KEY }])
const [prod] = estate.servers.filter(spec => spec.name === 'prod-dokploy')
if (!prod) throw new Error('the test config has no prod-dokploy')
const step = serverStep({ ...base, estate }, prod)
const serverTypes = [serverType('cx23'), serverType('cx33')]

test.each(['creating', 'available'] as const)('with an image that is %s it counts with its address', status => {
  const finding = lookAt(step, { serverTypes, images: [golden({ status })] })
  expect(say(finding)).toContain('create server prod-dokploy (cx33, nbg1)')
  const alone = { ...step, needs: [], look: () => finding }
  expect(makePlan([alone], { get: () => ({}) as never }).monthlyNet).toBeCloseTo(6.99)
})
