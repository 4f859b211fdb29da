/** A server's size, changed in place: it is off meanwhile, and keeps its disk and its addresses. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import { chooseOffer } from '../estate/choose.ts'
import type { ServerSpec } from '../estate/estate.ts'
import type { Deps, EstateStep } from './deps.ts'
import { findServer } from './server.ts'

export const sizeStepId = (name: string): string => `size ${name}`

/** The server has the first of its types that can be had where it stands. */
export function serverSizeStep(
  deps: Pick<Deps, 'estate' | 'cloud'>,
  spec: ServerSpec,
  needs: readonly string[] = [],
): EstateStep {
  const { estate, cloud } = deps
  return {
    id: sizeStepId(spec.name),
    noun: 'server',
    title: `${spec.name} has the size that config.json wants`,
    needs,
    reads: ['servers', 'serverTypes', 'pricing'],
    typicalMs: 120_000,
    look(world) {
      const server = findServer(estate.name, spec.name, world.get('servers'))
      if (!server) return refused(`There is no server ${spec.name} yet.`, 'Create it first: bun scripts/provision.ts apply')
      if (server.status !== 'running' && server.status !== 'off') return blocked(`server ${spec.name}`)
      const types = world.get('serverTypes')
      const now = types.find(type => type.name === server.type)
      const isRunning = server.status === 'running'
      if (server.type === spec.types[0] && isRunning) return done(server.type)
      const offer = chooseOffer({ ...spec, locations: [server.location] }, types)
      if ('problem' in offer)
        return refused(offer.problem, 'Name another type in config.json; it has to be sold where the server stands.')
      if (offer.type === server.type && isRunning) return done(`${server.type}${offer.fallback ? `; ${offer.fallback}` : ''}`)
      // As a run leaves it that ends between the change and the start.
      if (offer.type === server.type)
        return todo({
          kind: 'change',
          summary: `start ${spec.name}, which is off and has the size ${server.type} already`,
          async apply({ world: live, signal }) {
            const started = await cloud.waitServerRunning(server.id, signal)
            live.update('servers', all => all.map(each => (each.id === server.id ? started : each)))
          },
        })
      if (now && now.architecture !== offer.architecture)
        return refused(
          `${spec.name} is ${now.architecture}, and ${offer.type} is ${offer.architecture}.`,
          'Choose a type of the same architecture.',
        )
      const diskGb = server.diskGb ?? now?.diskGb ?? 0
      if (diskGb > offer.diskGb)
        return refused(
          `${spec.name} has a disk of ${diskGb} GB, and ${offer.type} only ${offer.diskGb} GB: a disk never shrinks.`,
          `Name a type with at least ${diskGb} GB in config.json, or make the server anew.`,
        )
      const before = now?.offers.find(each => each.location === server.location)?.monthly.net ?? 0
      return todo({
        kind: 'change',
        summary: `change ${spec.name} from ${server.type} to ${offer.type}`,
        details: [
          'it is shut down for it and does not answer for about two minutes; its addresses stay',
          diskGb === offer.diskGb
            ? `its disk stays at ${diskGb} GB`
            : `its disk stays at ${diskGb} of ${offer.diskGb} GB, so that it can go back`,
          `${before.toFixed(2)} → ${offer.monthly.net.toFixed(2)} ${world.get('pricing').currency} a month net`,
        ],
        monthlyNet: offer.monthly.net - before,
        async apply({ world: live, signal, log }) {
          log(`shutting ${spec.name} down`)
          const resized = await cloud.setServerType(server.id, offer.type, signal)
          live.update('servers', all => all.map(each => (each.id === server.id ? resized : each)))
        },
      })
    },
  }
}
