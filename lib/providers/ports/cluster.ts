/** Consul and Nomad as the cluster's steps need them; reached through a tunnel to one of its servers. */

import type { Secret } from '../../secret.ts'

export interface FormedQuorum {
  /** There is a leader. */
  readonly state: 'formed'
  /** Those that may vote and are alive, by name. */
  readonly voters: readonly string[]
  /** How many may vote, alive or not: a majority of these decides. */
  readonly size: number
  readonly healthy: boolean
  readonly failed: readonly string[]
}

export type Quorum = { readonly state: 'none' } | FormedQuorum

export interface ConsulPolicy {
  readonly name: string
  readonly rules: string
}

export interface ConsulToken {
  readonly secret: Secret
  readonly description: string
  /** By name. */
  readonly policies: readonly string[]
}

/** What Consul shows of one that it has, with the name by which it is deleted. */
type Listed<T, K extends keyof T> = Pick<T, K> & { readonly id: string }

export interface Consul {
  /** Needs no token, so it can be asked before there is one. */
  hasLeader(): Promise<boolean>
  /** @throws LandfallError token_invalid | forbidden when the cluster does not know our token */
  quorum(): Promise<Quorum>
  /** Members by name, as gossip has them. */
  listMembers(): Promise<readonly { readonly name: string; readonly state: 'alive' | 'failed' | 'left' | 'other' }[]>
  /** Tells the others that a member that is gone will not come back. */
  forgetMember(name: string): Promise<void>
  listPolicies(): Promise<readonly Listed<ConsulPolicy, 'name'>[]>
  setPolicy(policy: ConsulPolicy): Promise<void>
  deletePolicy(id: string): Promise<void>
  listTokens(): Promise<readonly Listed<ConsulToken, 'description' | 'policies'>[]>
  createToken(token: ConsulToken): Promise<void>
  deleteToken(id: string): Promise<void>
  /** Addresses of the instances of a service that pass their checks, as `ip:port`. */
  healthyInstances(service: string): Promise<readonly string[]>
}

export interface NomadNode {
  readonly id: string
  readonly name: string
  readonly status: 'ready' | 'down' | 'initializing' | 'disconnected'
  readonly eligible: boolean
  readonly draining: boolean
  readonly version: string
}

export interface Job {
  readonly id: string
  readonly status: 'pending' | 'running' | 'dead'
  readonly stopped: boolean
  /** Changes with everything; for `setJob`. */
  readonly index: number
  /** Counts what was registered. */
  readonly revision: number
  /** This revision, or the one that it was taken back to, has been rolled out well. Kept for longer than the deployment. */
  readonly stable: boolean
  readonly meta: Readonly<Record<string, string>>
  /** Of its first task. */
  readonly image: string
  readonly count: number
}

export interface Deployment {
  readonly id: string
  readonly status: 'running' | 'paused' | 'failed' | 'successful' | 'cancelled' | 'pending' | 'blocked' | 'unblocking'
  readonly why: string
  readonly jobRevision: number
  readonly wanted: number
  readonly placed: number
  readonly healthy: number
  readonly unhealthy: number
}

export interface Allocation {
  readonly id: string
  readonly job: string
  readonly jobRevision: number
  readonly node: string
  readonly state: 'pending' | 'running' | 'complete' | 'failed' | 'lost' | 'unknown'
  /** Nomad wants it to run. */
  readonly wanted: boolean
  readonly healthy?: boolean
  /** What happened last, in Nomad's words. */
  readonly said: string
}

export interface Nomad {
  hasLeader(): Promise<boolean>
  /** Gives the first management token the value of ours. Resolves with `taken` when somebody has done it before. */
  bootstrapAcl(token: Secret): Promise<'ours' | 'taken'>
  /** Whether the cluster knows our token. */
  knowsToken(): Promise<boolean>
  quorum(): Promise<Quorum>
  listNodes(): Promise<readonly NomadNode[]>
  listJobs(): Promise<readonly { readonly id: string }[]>
  findJob(id: string): Promise<Job | undefined>
  findDeployment(job: string): Promise<Deployment | undefined>
  /** Ends a rollout as a failed one, which takes the job back to the version before. */
  failDeployment(id: string): Promise<void>
  listAllocations(job: string): Promise<readonly Allocation[]>
  /** Registers the job only when nobody changed it since `index` was read; `undefined`: only when there is none. */
  setJob(body: Readonly<Record<string, unknown>>, index: number | undefined): Promise<void>
  deleteJob(id: string): Promise<void>
  /** Starts a drain: the node gets no new work and gives its own away, at last what runs on every machine. */
  drainNode(id: string, deadlineMs: number): Promise<void>
  releaseNode(id: string): Promise<void>
  /** Tells the others that a member that is gone will not come back. */
  forgetMember(name: string): Promise<void>
  /** Gives up a machine that is gone, and runs its jobs elsewhere at once. */
  forgetNode(id: string): Promise<void>
  listAllocationsOn(node: string): Promise<readonly Allocation[]>
  /** Undefined when there are none. `index` for `setVariables`. */
  findVariables(path: string): Promise<{ readonly items: ReadonlyMap<string, Secret>; readonly index: number } | undefined>
  setVariables(path: string, items: readonly (readonly [string, Secret])[], index: number): Promise<void>
  deleteVariables(path: string): Promise<void>
  /** The end of what a task has printed. */
  readLogs(allocation: string, task: string, stream: 'stdout' | 'stderr', bytes: number): Promise<string>
}
