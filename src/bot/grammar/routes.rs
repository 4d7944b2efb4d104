//! What a person calls the routes.

use crate::migration::RouteKind;

/// Each route with its word in `rooms [route]`.
pub(crate) const ROUTES: &[(&str, RouteKind)] = &[
    ("there", RouteKind::AlreadyThere),
    ("join", RouteKind::Join),
    ("invite", RouteKind::InviteAndJoin),
    ("moderator", RouteKind::NeedsModerator),
    ("unreachable", RouteKind::Unreachable),
    ("skipped", RouteKind::Skipped),
];

/// The word for a route.
pub(crate) fn route_name(kind: RouteKind) -> &'static str {
    ROUTES.iter().find(|(_, route)| *route == kind).map_or("", |(name, _)| name)
}
