/**
 * What a run will look at first, known without its steps: their modules load while the answers are under way. A slice that is missing
 * here is read a little later; one too many is a request too many.
 */

import type { Estate } from './estate/estate.ts'
import type { EstateWorld } from './steps/world.ts'

type Slices = readonly (keyof EstateWorld)[]

/** For servers and what they are made with; `named` when names can be read, which tell a token of another project. */
export const aheadOfServers = (estate: Estate, named: boolean): Slices => [
  'servers',
  'serverTypes',
  'pricing',
  'images',
  'keys',
  'firewalls',
  'primaryIps',
  ...(estate.servers.some(spec => spec.dokploy) ? (['swarms'] as const) : []),
  ...(estate.network ? (['networks', 'locations'] as const) : []),
  ...(estate.placementGroups.length > 0 ? (['placementGroups'] as const) : []),
  ...(estate.servers.some(spec => spec.nixos) ? (['machines', 'installer'] as const) : []),
  ...(estate.cloud === 'digitalocean' ? (['idleTags'] as const) : []),
  ...(named ? (['records', 'moves'] as const) : []),
]

/** For everything that carries the estate's mark. */
export const aheadOfDestroy = (estate: Estate): Slices => [
  'servers',
  'pricing',
  'keys',
  'firewalls',
  'networks',
  'placementGroups',
  'primaryIps',
  'loadBalancers',
  ...(estate.cloud === 'digitalocean' ? (['idleTags'] as const) : []),
  ...(estate.dns ? (['records', 'moves'] as const) : []),
]
