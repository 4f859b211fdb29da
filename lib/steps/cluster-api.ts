/** Nomad's API at any server of the cluster that answers, with the cluster's own token. */

import type { WorldView } from '../engine/world.ts'
import type { Nomad } from '../providers/ports/cluster.ts'
import { type ClusterDeps, hostOf, secretsOf } from './cluster-world.ts'
import type { EstateWorld } from './world.ts'

export const nomadAt = async (deps: ClusterDeps, world: WorldView<EstateWorld>): Promise<Nomad> =>
  deps.nomadOn(hostOf(deps, world, 'nomad'), secretsOf(world.get('clusterNodes'))?.nomadManagement)
