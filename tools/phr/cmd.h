/* The commands, by family: each row of main.c's table ends in one of these. */
#ifndef PHR_TOOLS_PHR_CMD_H
#define PHR_TOOLS_PHR_CMD_H

#include "args.h"
#include "phr/identity.h"

int cmd_init(struct phr_client *c, const struct args *a);

int cmd_identity_new(struct phr_client *c, const struct args *a);
int cmd_identity_list(struct phr_client *c, const struct args *a);
int cmd_identity_show(struct phr_client *c, const struct args *a);
int cmd_identity_approve(struct phr_client *c, const struct args *a);
int cmd_identity_suspend(struct phr_client *c, const struct args *a);
int cmd_identity_passwd(struct phr_client *c, const struct args *a);

int cmd_patient_add(struct phr_client *c, const struct args *a);
int cmd_patient_compartments(struct phr_client *c, const struct args *a);
int cmd_patient_compartment_add(struct phr_client *c, const struct args *a);

int cmd_grant_add(struct phr_client *c, const struct args *a);
int cmd_grant_list(struct phr_client *c, const struct args *a);
int cmd_revoke(struct phr_client *c, const struct args *a);

int cmd_mount_start(struct phr_client *c, const struct args *a);
int cmd_mount_stop(struct phr_client *c, const struct args *a);
int cmd_mount_login(struct phr_client *c, const struct args *a);
int cmd_mount_logout(struct phr_client *c, const struct args *a);

int cmd_status(struct phr_client *c, const struct args *a);
int cmd_status_sync(struct phr_client *c, const struct args *a);
int cmd_status_conflicts(struct phr_client *c, const struct args *a);
int cmd_status_check(struct phr_client *c, const struct args *a);

int cmd_audit_show(struct phr_client *c, const struct args *a);
int cmd_audit_verify(struct phr_client *c, const struct args *a);
int cmd_audit_export(struct phr_client *c, const struct args *a);

#endif
