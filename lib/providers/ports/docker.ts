/** A Docker host that runs one Compose stack, as Landfall acts on it. Every action is one program; values travel as data. */

/** What names a stack on its host. */
export interface StackPlace {
  /** Compose's project name. */
  readonly project: string
  /** Absolute folder on the host that relative paths of the Compose file start from. */
  readonly directory: string
  /** Compose files, absolute or relative to `directory`. */
  readonly files: readonly string[]
  /** The Compose files' texts, where they are to come from here instead of from the host. */
  readonly texts?: readonly { readonly path: string; readonly text: string }[]
  /** File with the variables for `${…}`; `.env` in `directory` when absent. */
  readonly envFile?: string
  /** The service that is the reverse proxy. */
  readonly nginx: string
  /** Where releases and the rollout's state lie; the host chooses when absent. */
  readonly stateDirectory?: string
}

export type ContainerState = 'created' | 'running' | 'restarting' | 'paused' | 'exited' | 'dead' | 'removing'
/** `none`: the image and the Compose file name no health check. */
export type ContainerHealth = 'none' | 'starting' | 'healthy' | 'unhealthy'

export interface Attachment {
  readonly network: string
  /** Empty while the container does not run. */
  readonly address: string
  readonly aliases: readonly string[]
}

export interface StackContainer {
  readonly id: string
  readonly name: string
  readonly service: string
  readonly state: ContainerState
  readonly health: ContainerHealth
  readonly exitCode: number
  readonly imageId: string
  /** As the Compose file named it. */
  readonly image: string
  /** Compose's hash of the service's configuration. */
  readonly configHash: string
  /** The recorded release that Landfall made it from; empty when somebody else made it. */
  readonly release: string
  readonly networks: readonly Attachment[]
}

export interface StackImage {
  readonly id: string
  /** `repository@sha256:…`, when it came from a registry. */
  readonly digests: readonly string[]
}

export interface StackFile {
  /** Absolute path on the host. */
  readonly path: string
  readonly text: string
}

export interface HostFacts {
  /** Compose's hash per service of the wanted configuration. */
  readonly hashes: Readonly<Record<string, string>>
  /** The same without dependencies, which older versions of Compose put into the hash or leave out by how a container was made. */
  readonly looseHashes: Readonly<Record<string, string>>
  /** Containers of the project, one-off runs excepted. */
  readonly containers: readonly StackContainer[]
  /** By reference; a reference that is not there locally is missing. */
  readonly images: Readonly<Record<string, StackImage>>
  /** Files below the folders that are mounted into the proxy, and those that were asked for by path. */
  readonly nginxFiles: readonly StackFile[]
  /** What `setState` wrote last. */
  readonly state?: string
  /** Manifests of the recorded releases. */
  readonly manifests: readonly string[]
}

export interface HealthResult {
  readonly id: string
  readonly state: 'healthy' | 'starting' | 'unhealthy' | 'exited' | 'gone'
  /** Last output of the health check and of the container. */
  readonly said: string
}

/** What `setState` takes; an action that is given it writes it in the same go. */
export interface StateText {
  readonly text: string
  /** Recorded releases that are not named here are forgotten. */
  readonly keep: readonly string[]
}

/** What `record` takes. */
export interface ReleaseText {
  readonly id: string
  readonly config: string
  readonly manifest: string
}

export interface ProxyFiles {
  /** Each is replaced in one step. */
  readonly files: readonly StackFile[]
  /** Paths of files that are removed. */
  readonly gone: readonly string[]
}

export interface SwitchRequest extends ProxyFiles {
  /** nginx has to answer with `token` on this port of its own, at this address, before the switch counts. */
  readonly proof?: { readonly address: string; readonly port: number; readonly token: string }
  /** Stopped containers, which are removed meanwhile. */
  readonly ended?: readonly string[]
  /** Written when nginx is switched. */
  readonly state?: StateText
}

export interface SwitchResult {
  /** `refused`: nginx did not accept the files; the old ones are back. `stuck`: it did not take them up; the old ones are back. */
  readonly state: 'switched' | 'refused' | 'stuck'
  /** nginx's workers that still finish requests by the old configuration; for `drain`. */
  readonly workers: readonly string[]
  /** `unasked`: the host has no program that speaks HTTP. */
  readonly proof: 'seen' | 'unasked'
  readonly said: string
}

export interface HeldStack {
  release(): Promise<void>
}

export interface StackImageUse {
  readonly id: string
  readonly refs: readonly string[]
  readonly bytes: number
  /** By any container of the host, running or not. */
  readonly used: boolean
}

export interface DockerHost {
  /** For messages: "this machine", "prod (203.0.113.7)". */
  readonly name: string
  /** The Compose file as Compose itself resolves it, as JSON. @throws config, with Compose's own words */
  resolve(variables: Readonly<Record<string, string>>, signal: AbortSignal): Promise<string>
  /** A recorded release's configuration. @throws not_found */
  readRelease(id: string, signal: AbortSignal): Promise<string>
  /**
   * `config`: the wanted configuration as JSON; `loose`: the same without dependencies; `images`: references to look up; `paths`:
   * the proxy's files that are read wherever they lie.
   */
  look(
    config: string,
    loose: string,
    images: readonly string[],
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<HostFacts>
  versions(signal: AbortSignal): Promise<{ readonly docker: string; readonly compose: string }>
  /** Takes the stack's lock; it ends with this process, however that ends. @throws locked, naming the holder */
  hold(runId: string, who: string, signal: AbortSignal): Promise<HeldStack>
  /** Fetches images; answers with those that could not be had. */
  pull(images: readonly string[], signal: AbortSignal): Promise<readonly { readonly image: string; readonly why: string }[]>
  /** Keeps a release; it is not yet what runs. */
  record(release: ReleaseText): Promise<void>
  /** Replaces the state in one step. */
  setState(state: StateText): Promise<void>
  /** Records the release and the state, and then makes containers of it beside those that are there, without a name in DNS. Starts none. */
  createDark(
    release: ReleaseText,
    state: StateText,
    made: {
      /** How many of each. */
      readonly services: Readonly<Record<string, number>>
      /** What they depend on besides each other; those stay as many as they are. */
      readonly others: readonly string[]
      /** Containers that are there. */
      readonly known: readonly string[]
    },
  ): Promise<readonly { readonly service: string; readonly id: string }[]>
  start(ids: readonly string[]): Promise<void>
  waitHealthy(ids: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<readonly HealthResult[]>
  /**
   * Writes the state, gives dark containers their names in DNS (their addresses change), and runs their health checks until they pass
   * again. Answers with how they and the containers `also` then are.
   */
  publish(
    containers: readonly { readonly id: string; readonly aliases: Readonly<Record<string, readonly string[]>> }[],
    state: StateText,
    also: readonly string[],
    timeoutMs: number,
  ): Promise<{ readonly healths: readonly HealthResult[]; readonly containers: readonly StackContainer[] }>
  switchNginx(request: SwitchRequest): Promise<SwitchResult>
  /** Puts the proxy's files in place and tells it nothing: it need not run. */
  setNginxFiles(files: ProxyFiles): Promise<void>
  /** Waits until those workers have ended; false when some have not after `limitMs`. */
  drain(workers: readonly string[], limitMs: number): Promise<boolean>
  /**
   * Stops containers, all at once, with `graceS` to finish. Missing ones count as stopped. Answers with those of `relief` that do
   * not run or are unhealthy; if there is one, none was stopped.
   */
  stop(ids: readonly string[], graceS: number, relief: readonly string[]): Promise<readonly string[]>
  /** Stops containers and removes them. Missing ones count as removed. */
  remove(ids: readonly string[], graceS: number): Promise<void>
  /** Compose's own `up` for one service that is not rolled. @throws unhealthy by its own words when it does not become healthy */
  up(
    release: string,
    wanted: {
      readonly service: string
      /** What it depends on; those stay as many as they are. */
      readonly others: readonly string[]
      /** Whether an existing container may be replaced. */
      readonly recreate: boolean
      /** Whether what it depends on is left out, because it would be replaced too. */
      readonly alone: boolean
      /** Whether it is to end well, instead of becoming healthy. */
      readonly ends: boolean
    },
    timeoutMs: number,
  ): Promise<void>
  /** Asks each URL from the host; 0 when there was no answer. */
  ask(urls: readonly { readonly url: string; readonly host: string }[], signal: AbortSignal): Promise<readonly number[]>
  /** Images of these repositories, with the containers that use them. */
  listImages(repositories: readonly string[], signal: AbortSignal): Promise<readonly StackImageUse[]>
  /** Removes images by id, never by force; answers with those that are gone. */
  removeImages(ids: readonly string[]): Promise<readonly string[]>
  close(): Promise<void>
}
