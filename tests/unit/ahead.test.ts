/** What is looked at ahead is what the steps read, for every way of working that ships with an example. */

import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { aheadOfDestroy, aheadOfServers } from '../../lib/ahead.ts'
import { slicesOf } from '../../lib/engine/plan.ts'
import { destroySteps } from '../../lib/steps/destroy.ts'
import { provisionSteps } from '../../lib/steps/estate.ts'
import { KEY, load } from './estate/configs.ts'
import { deps, store } from './steps/worlds.ts'

const EXAMPLES = new URL('../../examples/', import.meta.url).pathname
const CONFIGS = {
  ...Object.fromEntries(
    readdirSync(EXAMPLES)
      .filter(name => name.endsWith('.json'))
      .map(name => [name, JSON.parse(readFileSync(`${EXAMPLES}${name}`, 'utf8'))])
      // Stacks have a file of their own, which is no estate.
      .filter(([, config]) => !('stacks' in config)),
  ),
  'a group in a network': {
    project: 'demo',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: { range: '172.30.0.0/16' },
    placement_groups: ['spread'],
    servers: { web: { type: 'cx23', count: 3, network: true, placement_group: 'spread' } },
  },
}

test.each(Object.keys(CONFIGS))('%s', name => {
  const estate = load(CONFIGS[name], [], [{ name: 'alice', publicKey: KEY }])
  const given = { ...deps, estate, readsNames: estate.dns !== undefined }
  // What is read through other slices is read with them.
  const known = (slices: Iterable<string>) => [...new Set([...slices].filter(slice => slice !== 'zone'))].sort()
  expect(known(aheadOfServers(estate, given.readsNames))).toEqual(known(slicesOf(provisionSteps(given))))
  expect(known(aheadOfServers(estate, false))).toEqual(known(slicesOf(provisionSteps({ ...given, readsNames: false }))))
  expect(known(aheadOfDestroy(estate))).toEqual(known(slicesOf(destroySteps({ ...given, store }))))
})
