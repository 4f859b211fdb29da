/** Everything that a step may act through. Each step asks for the part it uses. */

import type { Clock } from '../engine/clock.ts'
import type { Step } from '../engine/step.ts'
import type { Estate } from '../estate/estate.ts'
import type { ProgramName } from '../estate/programs.ts'
import type { Cloud } from '../providers/ports/cloud.ts'
import type { Dns } from '../providers/ports/dns.ts'
import type { Dokploy } from '../providers/ports/dokploy.ts'
import type { Machines, Program, Target } from '../providers/ports/machine.ts'
import type { Outside } from '../providers/ports/outside.ts'
import type { NixosDeps } from './nixos.ts'
import type { EstateWorld } from './world.ts'

export type ServiceVariables =
  | { readonly state: 'known'; readonly variables: readonly (readonly [name: string, value: string])[] }
  /** A checkout in CI has not what git ignores. `why` is a part of a sentence. */
  | { readonly state: 'missing'; readonly why: string; readonly hint: string }

export interface Deps {
  readonly estate: Estate
  /** Marks what this run creates. */
  readonly runId: string
  readonly clock: Clock
  readonly cloud: Cloud
  readonly dns: Dns
  /** Whether `dns` can be asked: the estate has names, and there is a token for them. */
  readonly readsNames: boolean
  readonly machines: Machines
  readonly programs: Readonly<Record<ProgramName, Program>>
  /** The panel on a machine, through an SSH tunnel that stays open until the process ends. */
  readonly panelOn: (target: Target) => Promise<Dokploy>
  readonly outside: Outside
  readonly nixos: NixosDeps
  /** What the service's env file holds. @throws LandfallError config when it lies outside of the config's folder or cannot be used */
  readonly serviceVariables: () => Promise<ServiceVariables>
  /** Whether servers get new addresses even where some were put aside for them. */
  readonly dropsAddresses?: boolean
  /** Names whose foreign DNS records the operator has said may be replaced. */
  readonly takeOver: readonly string[]
  /** The operator and the addresses this process comes from, when they shall be let in to the panels. */
  readonly admin?: { readonly who: string; readonly addresses: readonly string[] }
}

export type EstateStep = Step<EstateWorld>
