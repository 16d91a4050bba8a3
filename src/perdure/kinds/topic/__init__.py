"""Topics: one event for many subscribers."""

from typing import TYPE_CHECKING

from perdure.kinds.topic.definition import Topic as Topic

if TYPE_CHECKING:
    from perdure.kinds.topic.entry import SubscriberPage as SubscriberPage
    from perdure.kinds.topic.entry import Subscription as Subscription
    from perdure.kinds.topic.entry import TopicPublished as TopicPublished
    from perdure.kinds.topic.entry import TopicSubscribed as TopicSubscribed
    from perdure.kinds.topic.entry import TopicUnsubscribed as TopicUnsubscribed
    from perdure.kinds.topic.handle import TopicHandle as TopicHandle
    from perdure.kinds.topic.handle import TopicSender as TopicSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.kinds.topic.entry": (
                "SubscriberPage",
                "Subscription",
                "TopicPublished",
                "TopicSubscribed",
                "TopicUnsubscribed",
            ),
            "perdure.kinds.topic.handle": ("TopicHandle", "TopicSender"),
        },
    )

__all__ = [
    "SubscriberPage",
    "Subscription",
    "Topic",
    "TopicHandle",
    "TopicPublished",
    "TopicSender",
    "TopicSubscribed",
    "TopicUnsubscribed",
]
