/** The certificate that visitors will be shown at the new place: proved by DNS while the name still leads to the old one. */

import { readPem } from '../cutover/store.ts'
import { type ApplyContext, blocked, done, refused, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import { openMoves } from './cutover-kit.ts'
import { type CutoverDeps, namesFor, openPanel } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { obtainCertificate, proofsIn, removeProofs } from './dns-certificate.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

/** `move`: after the snapshot, as a part of one. `alone`: before anything else, so that deploys already find a trusted certificate. */
type Occasion = 'move' | 'alone'

/** For each server: a certificate in hand, and then in its Traefik. */
export const certificateSteps = (deps: CutoverDeps, occasion: Occasion = 'move'): EstateStep[] =>
  [...new Set(deps.names.map(({ server }) => server))].flatMap(server => [
    certificateStep(deps, server, occasion),
    giveStep(deps, server),
  ])

/** A certificate for all names of the server is in the estate's directory, and no proof is left in the zone. */
export function certificateStep(deps: CutoverDeps, server: string, occasion: Occasion = 'move'): EstateStep {
  const names = namesFor(deps, server)
  const order = { kind: 'create', summary: `order a certificate for ${names.join(', ')}, proved by DNS` } as const
  return {
    id: `move certificate ${server}`,
    noun: 'dns',
    title: `a certificate for ${names.join(', ')} is in hand`,
    needs: [occasion === 'move' ? 'move snapshot' : 'zone'],
    reads: ['records', 'servers', 'moves', 'certificates', 'zone', 'arrivals'],
    typicalMs: 20_000,
    look(world) {
      if (occasion === 'move' && !openMoves(deps, world)) return blocked('the snapshot', order)
      const facts = world.get('certificates')[server]
      if (facts === undefined) return blocked(`server ${server}`, order)
      const left = proofsIn(deps, names, world.get('records'))
      if (facts.stored === 'good') {
        if (left.length === 0)
          return done(facts.notAfterMs ? `valid until ${new Date(facts.notAfterMs).toISOString().slice(0, 10)}` : 'valid')
        return todo({
          kind: 'change',
          summary: `take the ${left.length} proofs for the certificate out of the zone`,
          apply: async ({ world: live }) => removeProofs(deps, live, left),
        })
      }
      const forbidden = names.flatMap(name => world.get('arrivals')[name]?.caa.now ?? []).find(each => each.state === 'forbidden')
      if (forbidden?.state === 'forbidden') return refused(`${forbidden.why}.`, forbidden.hint)
      if (facts.budget.state === 'spent' && facts.stored !== 'unfinished')
        return refused(
          `No certificate can be ordered: ${facts.budget.why}.`,
          `Wait until ${new Date(facts.budget.nextAtMs).toISOString().slice(0, 16)}Z.`,
        )
      return todo({
        ...order,
        summary: facts.stored === 'unfinished' ? `finish the order of a certificate for ${names.join(', ')}` : order.summary,
        details: [
          ...(facts.budget.state === 'enough' ? [`${facts.budget.left} more fit into the authority's limits`] : []),
          `TXT records ${names.map(name => `_acme-challenge.${name}`).join(', ')} for as long as it takes`,
        ],
        apply: context => obtain(deps, server, context),
      })
    },
  }
}

async function obtain(deps: CutoverDeps, server: string, { world: live, signal, log }: ApplyContext<EstateWorld>): Promise<void> {
  const budget = live.get('certificates')[server]?.budget
  if (budget?.state === 'spent') throw new LandfallError('limit', `No certificate is ordered: ${budget.why}.`)
  const found = findServer(deps.estate.name, server, live.get('servers'))
  if (!found) throw new Error('bug: a certificate without a server')
  const wish = {
    names: namesFor(deps, server),
    kept: server,
    keyLabel: `key of the certificate of ${server}`,
    mark: { estate: deps.estate.name, server, serverId: found.id },
  }
  const { certificate } = await obtainCertificate(deps, wish, live, signal, log)
  const notAfterMs = readPem(certificate)?.notAfterMs ?? 0
  live.update('certificates', all => {
    const before = all[server]
    return before ? { ...all, [server]: { ...before, stored: 'good', given: 'no', notAfterMs } } : all
  })
}

/** The server's Traefik holds the certificate. */
export function giveStep(deps: CutoverDeps, server: string): EstateStep {
  const names = namesFor(deps, server)
  const give = { kind: 'create', summary: `give the certificate to Traefik on ${server}` } as const
  return {
    id: `move certificate ${server} given`,
    noun: 'dns',
    title: `Traefik on ${server} has the certificate for ${names.join(', ')}`,
    needs: [`move certificate ${server}`],
    reads: ['certificates', 'servers', 'moves'],
    look(world) {
      const facts = world.get('certificates')[server]
      if (facts === undefined || facts.stored === 'absent' || facts.stored === 'unfinished')
        return blocked('the certificate', give)
      if (facts.given === 'yes') return done('given through Dokploy')
      if (facts.given === 'no_panel')
        return done(`no Dokploy there; it lies in ${deps.store.directory}/certificates/${server}.json`)
      return todo({
        ...give,
        async apply({ world: live }) {
          const stored = await deps.store.readCertificate(server)
          const panel = await openPanel(deps, server, live.get('servers'))
          if (stored?.certificate === undefined)
            throw new LandfallError('not_found', `The certificate of ${server} is no longer in ${deps.store.directory}.`)
          if (panel === 'unreachable')
            throw new LandfallError('unhealthy', `Dokploy on ${server} can't be reached with a login of ours.`, {
              hint: 'bun scripts/dokploy.ts --plan',
            })
          if (panel !== 'no_panel')
            await panel.dokploy.installCertificate(panel.apiKey, {
              name: `landfall ${deps.estate.name}`,
              certificate: stored.certificate,
              privateKey: stored.privateKey,
            })
          live.update('certificates', all => {
            const before = all[server]
            return before ? { ...all, [server]: { ...before, given: panel === 'no_panel' ? 'no_panel' : 'yes' } } : all
          })
        },
      })
    },
  }
}
