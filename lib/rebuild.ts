/** "From scratch" as one plan: image, old servers out, new ones in their place, with what is worth keeping kept. */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { converge } from './converge.ts'
import { endingOf } from './ending.ts'
import { writeFileAtomic } from './engine/files.ts'
import { LandfallError } from './errors.ts'
import { imageBuildDeps } from './image/image.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { Secret } from './secret.ts'
import { protectedNames } from './steps/destroy.ts'
import { ALL_STAGES, estateSteps } from './steps/estate.ts'
import { imageBuildStep } from './steps/image-build.ts'
import { type KeptCertificates, rebuildSteps } from './steps/rebuild.ts'

const KEEPABLE = ['addresses', 'certificates'] as const

/** What is kept, without what `--drop` names. @throws LandfallError usage */
function keepsOf(session: Session, { estate }: Opened): ReadonlySet<(typeof KEEPABLE)[number]> {
  const dropped = flagValues(session, 'drop')
  const wrong = dropped.find(each => !KEEPABLE.some(known => known === each))
  if (wrong !== undefined)
    throw new LandfallError('usage', `--drop wants addresses or certificates, not "${wrong}".`, {
      hint: 'bun scripts/provision.ts --help',
    })
  // A droplet's address belongs to the droplet; names follow.
  return new Set(KEEPABLE.filter(each => !dropped.includes(each) && (each !== 'addresses' || estate.cloud === 'hetzner')))
}

const keptCertificates = (directory: string): KeptCertificates => {
  const folder = join(directory, 'kept-certificates')
  const fileOf = (server: string) => join(folder, `${server}.json`)
  return {
    list: async () => (existsSync(folder) ? readdirSync(folder).map(name => name.replace(/\.json$/, '')) : []),
    read: async server => new Secret(`certificates of ${server}`, readFileSync(fileOf(server), 'utf8'), 'unlisted'),
    async write(server, text) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      chmodSync(folder, 0o700)
      await writeFileAtomic(fileOf(server), text.reveal(), 0o600)
    },
    remove: async server => rmSync(fileOf(server), { force: true }),
  }
}

/** Deletes the estate's servers and makes them anew. The image is built first, so that a build that fails has cost nothing. */
export async function rebuildEstate(session: Session, opened: Opened): Promise<number> {
  const { estate, composition, directory, simulated } = opened
  const golden = estate.cloud === 'hetzner' && estate.servers.some(spec => spec.image.kind === 'golden')
  const build = golden && simulated.length === 0 ? imageBuildStep(await imageBuildDeps(session, opened)) : undefined
  const keeps = keepsOf(session, opened)
  if (estate.cloud === 'digitalocean')
    session.reporter.warning('Droplets get new addresses: DigitalOcean keeps none. Names in DNS follow in the same run.')
  const certificates = keptCertificates(directory)
  const readers = { ...composition.readers, keptCertificates: () => certificates.list() }
  const deps = { ...composition.deps, dropsAddresses: !keeps.has('addresses') }
  const steps = [
    ...(build ? [build] : []),
    ...rebuildSteps({ ...deps, certificates, keeps, after: build ? [build.id] : [] }, estateSteps(deps, ALL_STAGES)),
  ]
  return converge(
    session,
    { ...opened, composition: { ...composition, readers } },
    {
      deps,
      steps: () => steps,
      alsoRead: ['pricing', 'serverTypes', 'machines', 'panels'],
      confirmName: estate.name,
      alsoConfirm: protectedNames(estate),
      report: endingOf(session),
    },
  )
}
