/** GitHub's API, as far as deploys need it. */

import type { Secret } from '../../secret.ts'

export interface Repository {
  readonly owner: string
  readonly name: string
}

export interface Hook {
  readonly id: number
  /** Holds the deploy token in its path: never printed. */
  readonly url: Secret
  readonly events: readonly string[]
  readonly active: boolean
  readonly contentType: string
  /** Whether deliveries are signed; the secret itself is never shown again. */
  readonly signed: boolean
  /** Whether GitHub was told to accept any certificate. */
  readonly insecure: boolean
}

export interface WantedHook {
  readonly url: Secret
  /** Deliveries carry an HMAC of their body made with it. */
  readonly secret: Secret
}

export interface GitHub {
  listHooks(repository: Repository): Promise<readonly Hook[]>
  createHook(repository: Repository, hook: WantedHook): Promise<void>
  setHook(repository: Repository, id: number, hook: WantedHook): Promise<void>
  deleteHook(repository: Repository, id: number): Promise<void>
}
