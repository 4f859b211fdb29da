/** The private network and the placement groups of an estate. */

import { done, refused, type Step, todo } from '../engine/step.ts'
import type { NetworkSpec } from '../estate/estate.ts'
import { isOurs, labelsFor } from '../estate/labels.ts'
import type { Deps } from './deps.ts'
import type { EstateWorld } from './world.ts'

const foreign = (what: string, name: string) =>
  refused(
    `A ${what} called ${name} exists in this project and does not belong to this estate.`,
    `Rename it in the Hetzner console, or choose another "project" in config.json.`,
  )

export function networkStep(deps: Pick<Deps, 'estate' | 'cloud' | 'runId'>, spec: NetworkSpec): Step<EstateWorld> {
  const { estate, cloud } = deps
  const wantedLocation = estate.servers[0]?.locations[0]
  return {
    id: `network ${spec.name}`,
    noun: 'network',
    title: `network ${spec.name} is ${spec.range}`,
    needs: [],
    reads: ['networks', 'locations'],
    look(world) {
      const have = world.get('networks').find(each => each.name === spec.name)
      if (have && !isOurs(have.labels, estate.name)) return foreign('network', spec.name)
      if (have) {
        if (have.range === spec.range && have.subnets.some(subnet => subnet.range === spec.subnet)) return done(have.range)
        return refused(
          `Network ${spec.name} is ${have.range} with ${have.subnets.map(each => each.range).join(', ') || 'no subnet'}; config.json wants ${spec.range} with ${spec.subnet}.`,
          'Addresses of a network in use are not changed: set network.range and network.subnet to what exists, or destroy the estate first.',
        )
      }
      const zone = world.get('locations').find(each => each.name === wantedLocation)?.networkZone
      if (!zone) return refused(`The vendor has no location "${wantedLocation}".`, 'Correct hetzner.location in config.json.')
      return todo({
        kind: 'create',
        summary: `create network ${spec.name} (${spec.range}, subnet ${spec.subnet} in ${zone})`,
        async apply({ world: live }) {
          const network = await cloud.createNetwork({
            ...spec,
            zone,
            labels: labelsFor(estate.name, 'shared', deps.runId),
          })
          live.update('networks', all => [...all, network])
        },
      })
    },
  }
}

export function placementGroupStep(
  deps: Pick<Deps, 'estate' | 'cloud' | 'runId'>,
  spec: { readonly name: string },
): Step<EstateWorld> {
  const { estate, cloud } = deps
  return {
    id: `placement group ${spec.name}`,
    noun: 'network',
    title: `placement group ${spec.name} spreads its servers`,
    needs: [],
    reads: ['placementGroups'],
    look(world) {
      const have = world.get('placementGroups').find(each => each.name === spec.name)
      if (have)
        return isOurs(have.labels, estate.name) ? done(`${have.serverIds.length} servers`) : foreign('placement group', spec.name)
      return todo({
        kind: 'create',
        summary: `create placement group ${spec.name}`,
        async apply({ world: live }) {
          const group = await cloud.createPlacementGroup({
            name: spec.name,
            labels: labelsFor(estate.name, 'shared', deps.runId),
          })
          live.update('placementGroups', all => [...all, group])
        },
      })
    },
  }
}
