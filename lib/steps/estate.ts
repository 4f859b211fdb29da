/** Which steps make up an estate, by stage. Scripts choose stages; the graph sorts out the rest. */

import { LandfallError } from '../errors.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { didYouMean, quoted } from '../estate/words.ts'
import { surplusAddressesStep } from './address.ts'
import type { Deps, EstateStep } from './deps.ts'
import { dnsStepId, recordStep, zoneStep } from './dns.ts'
import { adminAccessStep, adminFirewallStep, firewallStep } from './firewall.ts'
import { guardStep, surplusFirewallsStep } from './guard.ts'
import { imageStep } from './image.ts'
import { keyStep } from './key.ts'
import { machineStep } from './machine.ts'
import { networkStep, placementGroupStep } from './network.ts'
import { hasNixos, systemStep } from './nixos.ts'
import { outsideStep } from './outside.ts'
import { dokployStep, hasDokploy, ownerStep, panelNameStep } from './panel.ts'
import { panelPortStep } from './panel-port.ts'
import { runningStep, serverStep } from './server.ts'
import { hasService, serviceNameStep, serviceStep } from './service.ts'
import { SURPLUS_STEP, surplusStep } from './surplus.ts'
import { swarmSteps } from './swarm.ts'
import { LEAVING_STEP, leavingWorkersStep } from './swarm-leave.ts'
import { swarmShutStep } from './swarm-ports.ts'
import { isWorker } from './swarm-world.ts'
import { tagSteps } from './tags.ts'

export type Stage =
  | 'image'
  | 'firewall'
  | 'servers'
  | 'machines'
  | 'systems'
  | 'dokploy'
  | 'workers'
  | 'services'
  | 'dns'
  | 'access'
  | 'names'
  | 'outside'

/** Every stage in the order of the guided tour. */
export const ALL_STAGES = [
  'image',
  'firewall',
  'servers',
  'machines',
  'systems',
  'dokploy',
  'workers',
  'services',
  'dns',
  'access',
  'names',
  'outside',
] as const satisfies readonly Stage[]

const stageSteps = {
  image: deps => (deps.estate.servers.some(spec => spec.image.kind === 'golden') ? [imageStep(deps)] : []),
  firewall: (deps, servers) => [
    ...deps.estate.firewalls.map(spec =>
      spec.attach === 'when_owned' ? adminFirewallStep(deps, spec) : firewallStep(deps, spec),
    ),
    ...servers.map(spec => guardStep(deps, spec)),
  ],
  servers: (deps, servers) => [
    ...deps.estate.keys.map(spec => keyStep(deps, spec)),
    ...(deps.estate.network ? [networkStep(deps, deps.estate.network)] : []),
    ...deps.estate.placementGroups.map(spec => placementGroupStep(deps, spec)),
    ...servers.flatMap(spec => [serverStep(deps, spec), runningStep(deps, spec)]),
  ],
  machines: (deps, servers) => servers.map(spec => machineStep(deps, spec)),
  systems: (deps, servers) => servers.filter(hasNixos).map(spec => systemStep(deps, spec)),
  dokploy: (deps, servers) => servers.filter(hasDokploy).flatMap(spec => [dokployStep(deps, spec), ownerStep(deps, spec)]),
  workers: (deps, servers) => swarmSteps(deps, servers.filter(isWorker)),
  services: (deps, servers) => servers.filter(hasService).flatMap(spec => [serviceStep(deps, spec), serviceNameStep(deps, spec)]),
  dns: (deps, servers) =>
    deps.estate.dns ? [zoneStep(deps), ...recordsOf(deps, servers).map(record => recordStep(deps, record))] : [],
  access: (deps, servers) =>
    deps.estate.firewalls
      .filter(firewall => firewall.attach === 'when_owned')
      .flatMap(firewall => servers.filter(hasDokploy).map(spec => adminAccessStep(deps, spec, firewall)))
      .concat(
        servers
          .filter(hasDokploy)
          // The golden image brings a firewall of its own.
          .filter(spec => spec.image.kind === 'system')
          .map(spec =>
            panelPortStep(
              deps,
              spec,
              deps.estate.firewalls.find(each => each.attach === 'when_owned'),
            ),
          ),
      ),
  names: (deps, servers) =>
    servers.filter(hasDokploy).flatMap(spec => (spec.dokploy.host ? [panelNameStep(deps, spec, spec.dokploy.host)] : [])),
  outside: (deps, servers) => servers.map(spec => outsideStep(deps, spec)),
} satisfies Record<Stage, (deps: Deps, servers: readonly ServerSpec[]) => EstateStep[]>

/** Names that lead to one of the servers; a load balancer's are the cluster's own. */
const recordsOf = ({ estate }: Pick<Deps, 'estate'>, servers: readonly ServerSpec[]) =>
  (estate.dns?.records ?? []).filter(record => servers.some(spec => spec.name === record.server))

/** Servers as they are sold, and the NixOS that some of them get over that. */
export function provisionSteps(deps: Deps): EstateStep[] {
  const installed = deps.estate.servers.filter(hasNixos).map(spec => spec.name)
  return [...estateSteps(deps, ['image', 'firewall', 'servers']), ...estateSteps(deps, ['machines', 'systems'], installed)]
}

/** What the service's name in DNS, its server and itself need. */
export function serviceSteps(deps: Deps): EstateStep[] {
  const names = deps.estate.servers.filter(hasService).map(spec => spec.name)
  return estateSteps(deps, ['firewall', 'servers', 'machines', 'systems', 'services', 'dns', 'outside'], names)
}

/** The steps of `stages`, for all servers or the named ones. */
export function estateSteps(deps: Deps, stages: readonly Stage[], names?: readonly string[]): EstateStep[] {
  const servers = names ? deps.estate.servers.filter(spec => names.includes(spec.name)) : deps.estate.servers
  const shrinks = names === undefined && stages.includes('servers')
  const members = names === undefined && stages.includes('workers') ? swarmMembers(servers) : []
  const movers = stages.includes('dns') ? recordsOf(deps, servers).map(record => record.name) : []
  const leaving = shrinks ? shrinkSteps(deps, servers.some(hasDokploy), movers) : []
  const steps = [
    ...stages.flatMap(stage => stageSteps[stage](deps, servers)),
    ...leaving,
    ...(names === undefined && stages.includes('firewall')
      ? [
          surplusFirewallsStep(
            deps,
            leaving.map(step => step.id),
          ),
        ]
      : []),
    ...(members.length > 0 ? [swarmShutStep(deps, members, shrinks)] : []),
  ]
  // Firewalls and servers carry tags; whatever takes one off or puts one on comes first.
  return stages.includes('firewall')
    ? [
        ...steps,
        ...tagSteps(
          deps,
          steps.map(step => step.id),
        ),
      ]
    : steps
}

/** What is too much goes; out of its swarm first, where there is one. */
const shrinkSteps = (deps: Deps, hasSwarms: boolean, movers: readonly string[]): EstateStep[] => [
  ...(hasSwarms ? [leavingWorkersStep(deps)] : []),
  surplusStep(deps, hasSwarms ? [LEAVING_STEP] : [], movers),
  surplusAddressesStep(deps, [SURPLUS_STEP, ...movers.map(dnsStepId)], movers),
]

/**
 * The named servers, and those that work for them; all where none is named. Pure.
 * @param actions what a word that names no server may have been meant for
 * @throws LandfallError usage with the nearest name
 */
export const withWorkers = (
  { servers }: Deps['estate'],
  names: readonly string[],
  actions: readonly string[],
): readonly string[] | undefined => {
  if (names.length === 0) return undefined
  const known = servers.map(spec => spec.name)
  const unknown = names.find(name => !known.includes(name))
  if (unknown !== undefined)
    throw new LandfallError(
      'usage',
      `The estate has no server ${quoted(unknown)}${didYouMean(unknown, [...known, ...actions]) || '.'}`,
      {
        hint: `It has: ${known.join(', ')}.`,
      },
    )
  return [...names, ...servers.filter(spec => spec.joins !== undefined && names.includes(spec.joins)).map(spec => spec.name)]
}

/** Workers, and the servers that have some, or had: what Landfall builds itself never does. */
const swarmMembers = (servers: readonly ServerSpec[]): ServerSpec[] =>
  servers.filter(spec => isWorker(spec) || (hasDokploy(spec) && spec.image.kind === 'system' && !hasNixos(spec)))
