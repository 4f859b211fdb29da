/**
 * One certificate for all previews: a wildcard, proved by DNS. With a certificate for each, fifteen pull requests would use up what the
 * authority gives a domain in a week. It lies on the host alone, where no pull request's code runs as root.
 */

import { readPem } from '../cutover/store.ts'
import { blocked, done, todo } from '../engine/step.ts'
import type { EstateStep } from './deps.ts'
import { type CertificateDeps, isLasting, obtainCertificate, proofsIn, removeProofs } from './dns-certificate.ts'
import { runProgram, targetOf } from './machine.ts'
import type { Live, PreviewDeps } from './preview-kit.ts'
import { findServer } from './server.ts'

export type PreviewCertificateDeps = PreviewDeps & CertificateDeps

/** The host has a certificate for the wildcard that is good for a month more, and no proof is left in the zone. */
export function previewCertificateStep(deps: PreviewCertificateDeps): EstateStep {
  const { spec } = deps
  const name = `*.${spec.domain}`
  return {
    id: 'preview certificate',
    noun: 'preview',
    title: `the edge has a certificate for ${name}`,
    needs: [`preview host ${spec.host}`, 'zone'],
    reads: ['previews', 'pulls', 'records', 'zone', 'servers'],
    typicalMs: 20_000,
    look(world) {
      const state = world.get('previews')[spec.host]
      const order = { kind: 'create', summary: `order a certificate for ${name}, proved by DNS` } as const
      if (state?.state !== 'ready') return blocked(`machine ${spec.host}`, order)
      const { nowMs } = world.get('pulls')
      const have = state.certificate
      if (!have?.names.includes(name) || !isLasting(have.notAfterMs, nowMs))
        return todo({ ...order, apply: ({ world: live, signal, log }) => obtain(deps, live, signal, log) })
      const left = proofsIn(deps, [name], world.get('records'))
      if (left.length === 0) return done(`valid until ${new Date(have.notAfterMs).toISOString().slice(0, 10)}`)
      return todo({
        kind: 'change',
        summary: 'take the proof for the certificate out of the zone',
        apply: ({ world: live }) => removeProofs(deps, live, left),
      })
    },
  }
}

async function obtain(deps: PreviewCertificateDeps, live: Live, signal: AbortSignal, log: (line: string) => void): Promise<void> {
  const { spec, estate } = deps
  const names = [`*.${spec.domain}`]
  const server = findServer(estate.name, spec.host, live.get('servers'))
  const target = server && targetOf(estate.name, server)
  if (!target) throw new Error(`bug: ${spec.host} has no address or key`)
  const { certificate, privateKey } = await obtainCertificate(
    deps,
    {
      names,
      kept: `preview-${spec.host}`,
      keyLabel: 'key of the previews’ certificate',
      mark: { estate: estate.name, server: server.name, serverId: server.id },
    },
    live,
    signal,
    log,
  )
  await runProgram(deps, target, 'preview-edge', { CERTIFICATE: certificate, KEY: privateKey }, signal)
  const facts = readPem(certificate)
  live.update('previews', all => {
    const state = all[spec.host]
    // The edge has to be told to take it up.
    return state?.state === 'ready'
      ? { ...all, [spec.host]: { ...state, caddyfile: 'none', certificate: { names, notAfterMs: facts?.notAfterMs ?? 0 } } }
      : all
  })
}
