/** GitHub's API, as far as deploys and previews need it. */

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

export interface PullRequest {
  readonly number: number
  readonly state: 'open' | 'closed'
  readonly draft: boolean
  /** Commit at its head. */
  readonly head: string
  readonly author: string
  /** From another repository, or from one that is gone. */
  readonly fork: boolean
  readonly labels: readonly string[]
  /** ISO times. */
  readonly createdAt: string
  readonly closedAt?: string
}

export interface IssueComment {
  /** Grows with time. */
  readonly id: number
  readonly author: string
  readonly body: string
  /** When it was written or last edited, in whole seconds of GitHub's clock; ISO. */
  readonly updatedAt: string
}

/** Whose comments those of a repository's own workflows are. */
export const WORKFLOW_LOGIN = 'github-actions[bot]'

/** What previews need of GitHub. Lists are whole, all pages. */
export interface PullRequests {
  listPulls(repository: Repository): Promise<readonly PullRequest[]>
  /** The hundred that changed last. */
  listClosedPulls(repository: Repository): Promise<readonly PullRequest[]>
  findPull(repository: Repository, number: number): Promise<PullRequest | undefined>
  listComments(repository: Repository, number: number): Promise<readonly IssueComment[]>
  /** Who put which label on, oldest first. */
  listLabelings(repository: Repository, number: number): Promise<readonly { readonly label: string; readonly who: string }[]>
  /** Whether somebody may write to the repository; strangers may not. */
  mayWrite(repository: Repository, login: string): Promise<boolean>
  /** Whose comments this token's are. */
  readSelf(): Promise<string>
  createComment(repository: Repository, number: number, body: string): Promise<IssueComment>
  /** @throws LandfallError forbidden, when it is somebody else's and this token may not write to the repository | not_found */
  setComment(repository: Repository, id: number, body: string): Promise<void>
  /** A label that is not there counts as removed. */
  removeLabel(repository: Repository, number: number, label: string): Promise<void>
}
