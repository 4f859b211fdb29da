/** Opens an estate for commands about its cluster: tunnels to Consul and Nomad, the three slices of their own given their readers. */

import { readInputs, secretsFrom } from '../../apps/inputs.ts'
import { chooseApps } from '../../apps/open.ts'
import { orderingOf } from '../../certificates.ts'
import type { Readers } from '../../engine/world.ts'
import { LandfallError } from '../../errors.ts'
import type { AppSpec } from '../../estate/apps.ts'
import type { Target } from '../../providers/ports/machine.ts'
import type { Images, RegistryLogin } from '../../providers/ports/registry.ts'
import { flagValues, type Opened, type Session } from '../../script.ts'
import type { Secret } from '../../secret.ts'
import { surplusAddressesStep } from '../../steps/address.ts'
import { balancerStep } from '../../steps/balancer.ts'
import { surplusTokenStep } from '../../steps/cluster-access.ts'
import { sharedCertificateStep } from '../../steps/cluster-certificate.ts'
import { type ImageDeps, readImages } from '../../steps/cluster-image.ts'
import { type JobDeps, jobSteps } from '../../steps/cluster-job.ts'
import { LEAVING_MACHINES_STEP, leavingMachinesStep } from '../../steps/cluster-leave.ts'
import { monitoringSteps } from '../../steps/cluster-monitoring.ts'
import { clusterSteps } from '../../steps/cluster-quorum.ts'
import { PRETENDED, readConsul, readNodes, readNomad } from '../../steps/cluster-world.ts'
import type { Deps, EstateStep } from '../../steps/deps.ts'
import { recordStep, zoneStep } from '../../steps/dns.ts'
import type { CertificateDeps } from '../../steps/dns-certificate.ts'
import { estateSteps } from '../../steps/estate.ts'
import type { EstateWorld } from '../../steps/world.ts'
import { createTunnels } from '../../tunnels.ts'
import { type BuildContext, readContext } from '../context.ts'
import { META, type Variables } from '../job.ts'

export const CONSUL_PORT = 8500
export const NOMAD_PORT = 4646

export interface OpenedCluster {
  /** With readers for the cluster's slices. */
  readonly opened: Opened
  readonly deps: JobDeps & CertificateDeps & Deps
  /** The chosen apps, or all of the cluster's. */
  readonly apps: readonly AppSpec[]
  /** A loopback address here that leads to a port of the machine's loopback; the same one for the same wish. */
  readonly tunnelTo: (target: Target, port: number) => Promise<string>
  close(): Promise<void>
}

/** `app=image` flags as a record. @throws LandfallError usage */
function imagesIn(session: Session, apps: readonly AppSpec[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    flagValues(session, 'image').map(text => {
      const at = text.indexOf('=')
      const [name, image] = [text.slice(0, at), text.slice(at + 1)]
      chooseApps(apps, [name])
      if (at < 1 || !/^[a-z0-9][\w.\-/:@]{0,250}$/.test(image))
        throw new LandfallError('usage', `--image takes APP=IMAGE, not "${text}".`, {
          hint: 'For example: --image web=ghcr.io/acme/web:1.4',
        })
      return [name, image]
    }),
  )
}

/** A plan and an image need no machine; whatever else would stop in the middle. @throws LandfallError refused */
function refusePretended({ args, reporter }: Session, { machines }: Opened): void {
  if (machines !== 'simulated' || args.action === 'build') return
  if (!args.plan && args.action !== 'plan') throw new LandfallError('refused', PRETENDED.why, { hint: PRETENDED.hint })
  reporter.warning(`${PRETENDED.why} ${PRETENDED.hint}`)
}

/** @param reads whether the apps' files of variables are read at once, so that nothing is sent when one of them is wrong */
export async function openCluster(
  session: Session,
  names: readonly string[],
  reads: 'files' | 'no files',
): Promise<OpenedCluster> {
  const opened = await session.open()
  const { composition, estate } = opened
  const { cluster } = estate
  if (!cluster)
    throw new LandfallError('config', `${opened.configPath} describes no cluster.`, {
      hint: 'Add one: "cluster": {"servers": "node"}; examples/nomad-previews.json shows a whole one.',
    })
  refusePretended(session, opened)
  const apps = chooseApps(cluster.apps, names)
  let inputs: ReturnType<typeof readInputs> | undefined
  const inputOf = (name: string) => {
    inputs ??= readInputs(opened.configPath, { apps: cluster.apps })
    return inputs(name)
  }
  if (reads === 'files') for (const app of cluster.apps) inputOf(app.name)
  const { deps: base, parts } = composition

  const tunnels = createTunnels(base.machines)
  const through = (target: Target, port: number, token: Secret | undefined) =>
    tunnels.to(target, port).then(baseUrl => ({ baseUrl, context: parts.context, ...(token ? { token } : {}) }))

  const deps: JobDeps & CertificateDeps & Deps = {
    ...base,
    ...(await orderingOf(opened)),
    cluster,
    async consulOn(target, token) {
      const { createConsul } = await import('../../providers/cluster/consul.ts')
      return createConsul(await through(target, CONSUL_PORT, token))
    },
    async nomadOn(target, token) {
      const { createNomad } = await import('../../providers/cluster/nomad.ts')
      return createNomad(await through(target, NOMAD_PORT, token))
    },
    variablesOf: (app): Variables => inputOf(app.name).env ?? [],
    images: imagesIn(session, cluster.apps),
    ...imageDeps(opened),
  }
  const readers: Readers<EstateWorld> = {
    ...composition.readers,
    clusterNodes: async get => readNodes(deps, await get('servers'), await get('machines')),
    consul: async get => readConsul(deps, await get('servers'), await get('clusterNodes')),
    clusterImages: () =>
      readImages(
        deps,
        apps.filter(app => app.name in cluster.builds && !(app.name in deps.images)),
      ),
    nomad: async get => readNomad(deps, await get('servers'), await get('clusterNodes'), META.estate),
  }
  return {
    opened: { ...opened, composition: { ...composition, readers } },
    deps,
    apps,
    tunnelTo: tunnels.to,
    close: tunnels.close,
  }
}

/** Each loads, and asks for the password, only when a command needs it. */
function imageDeps({ composition, configPath, estate }: Opened): ImageDeps & Pick<JobDeps, 'registryLogin'> {
  const { context, environment } = composition.parts
  const { registry, builds = {} } = estate.cluster ?? {}
  const login = (): RegistryLogin => {
    if (!registry) throw new Error('bug: an image is built for a cluster without a registry')
    const { url, username, passwordVariable } = registry
    return { url, username, password: secretsFrom(environment.lookup)(passwordVariable) }
  }
  let images: Promise<Images> | undefined
  const contexts = new Map<string, BuildContext>()
  return {
    ...(registry ? { registryLogin: login } : {}),
    imagesIn: () => {
      images ??= import('../../providers/registry/builder.ts').then(({ createImages }) =>
        createImages({ login: login(), context, variables: environment.programs }),
      )
      return images
    },
    contextOf({ name }) {
      const wish = builds[name]
      if (!wish) throw new Error(`bug: ${name} is not built here`)
      const found = contexts.get(name) ?? readContext(configPath, name, wish)
      contexts.set(name, found)
      return found
    },
  }
}

/** What a timer does: certificates that end soon are made anew, and nothing else changes. */
export const certificateSteps = ({ deps }: Pick<OpenedCluster, 'deps'>): EstateStep[] => [
  ...clusterSteps(deps, 'certificates'),
  ...(deps.cluster.certificateNames.length > 0 ? [sharedCertificateStep(deps)] : []),
]

/** Servers, machines, the cluster and its jobs. */
export const everyClusterStep = ({ deps }: Pick<OpenedCluster, 'deps'>): EstateStep[] => {
  const names = [...deps.cluster.servers, ...deps.cluster.workers]
  const hosts = deps.cluster.apps.flatMap(app => app.domains.map(domain => domain.host))
  const records = (deps.estate.dns?.records ?? []).filter(record => hosts.includes(record.name))
  return [
    ...estateSteps(deps, ['firewall', 'servers', 'machines'], names),
    ...(deps.cluster.front === 'load_balancer' ? [balancerStep(deps, deps.cluster)] : []),
    ...(records.length > 0 ? [zoneStep(deps), ...records.map(record => recordStep(deps, record))] : []),
    ...clusterSteps(deps),
    leavingMachinesStep(deps),
    surplusAddressesStep(deps, [LEAVING_MACHINES_STEP]),
    ...(deps.cluster.certificateNames.length > 0 ? [sharedCertificateStep(deps)] : []),
    ...(deps.cluster.monitoring ? monitoringSteps(deps, deps.cluster.monitoring) : [surplusTokenStep(deps)]),
    ...jobSteps(deps, deps.cluster.apps, 'all'),
  ]
}
